from __future__ import annotations

import json
import math
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rayxkd.status import Status
from rayxkd.teachers import TeacherError, load_teacher, predict, teacher_digest
from rayxkd.teachers.teacher import Forward
from rayxkd.transport.predictions import Predictions
from tests.teachers.folders import (
    CPU,
    PoolNet,
    assert_close,
    assert_head_explains_logits,
    card_of,
    export,
    load,
    pixels_of,
    preprocessing,
    random_images,
    write_card,
    write_weights,
)

IMAGES = 7


def timm_inputs(side: int) -> Tensor:
    """The test's images as timm itself would prepare them."""
    wanted = preprocessing(side) | {"input_size": (3, side, side)}
    transform = timm.data.create_transform(**wanted, interpolation="bilinear")
    return torch.stack([transform(image) for image in random_images(IMAGES)])


def predictions_of(folder: Path, batch_size: int = 3) -> Predictions:
    return predict(load(folder), pixels_of(IMAGES), Forward(batch_size))


def failure(folder: Path, **how: Any) -> TeacherError:
    with pytest.raises(TeacherError) as caught:
        predict(load(folder, **how), pixels_of(IMAGES))
    assert "\n" not in caught.value.reason
    return caught.value


def randomised(network: nn.Module) -> nn.Module:
    """Weights and running statistics that let no layer pass for another."""
    generator = torch.Generator().manual_seed(1)
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator) * 0.1
            values.add_(noise if name.endswith(("running_var", "weight")) else noise - 0.05)
    return network.eval()


# Libraries


@pytest.fixture(params=["test_resnet", "test_vit", "mobilenetv3_small_050"])
def timm_teacher(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    side = 160 if request.param == "test_vit" else 64
    network = randomised(timm.create_model(request.param, num_classes=6))
    write_card(
        tmp_path, architecture=request.param, num_classes=6, pretrained_cfg=preprocessing(side)
    )
    return write_weights(tmp_path, network), network


@torch.inference_mode()
def test_timm_teachers_say_what_timm_says(timm_teacher):
    folder, network = timm_teacher
    images = timm_inputs(card_of(folder).preprocessing.input_size[1])
    predictions = predictions_of(folder)
    assert_close(predictions.logits_NK, network(images))
    features = network.forward_head(network.forward_features(images), pre_logits=True)
    assert_close(predictions.features_ND, features)
    assert_head_explains_logits(predictions, network.get_classifier().bias)


def torchvision_folder(
    folder: Path, name: str, network: nn.Module, classes: int, side: int
) -> Path:
    write_card(
        folder,
        library_name="torchvision",
        architecture=name,
        num_classes=classes,
        pretrained_cfg=preprocessing(side),
    )
    return write_weights(folder, network)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
@torch.inference_mode()
def test_torchvision_teachers_say_what_torchvision_says(name, tmp_path):
    torch.manual_seed(0)
    network = randomised(torchvision.models.get_model(name, weights=None, num_classes=6))
    predictions = predictions_of(torchvision_folder(tmp_path, name, network, 6, 64))
    images = timm_inputs(64)
    assert_close(predictions.logits_NK, network(images))
    head = network.classifier[-1] if name.startswith("mobilenet") else network.fc
    if name.startswith("mobilenet"):
        network.classifier[-1] = nn.Identity()
    else:
        network.fc = nn.Identity()
    assert_close(predictions.features_ND, network(images))
    assert_head_explains_logits(predictions, head.bias)


@torch.inference_mode()
def test_a_convolutional_head_shows_no_features(tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(weights=None, num_classes=6).eval()
    predictions = predictions_of(torchvision_folder(tmp_path, "squeezenet1_1", network, 6, 64))
    assert predictions.features_ND is None
    assert predictions.head_KD is None
    assert_close(predictions.logits_NK, network(timm_inputs(64)))


@torch.inference_mode()
def test_two_heads_show_no_features(tmp_path):
    torch.manual_seed(0)
    args = {"img_size": 32, "depth": 1, "embed_dim": 48}
    name = "deit_tiny_distilled_patch16_224"
    network = timm.create_model(name, num_classes=6, **args).eval()
    card = {"architecture": name, "num_classes": 6, "model_args": args}
    write_card(tmp_path, **card, pretrained_cfg=preprocessing(32))
    predictions = predictions_of(write_weights(tmp_path, network))
    assert predictions.features_ND is None
    assert predictions.head_KD is None
    assert_close(predictions.logits_NK, network(timm_inputs(32)))


@torch.inference_mode()
def test_a_grey_teacher_sees_grey(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=6, in_chans=1).eval()
    card = {"architecture": "test_resnet", "num_classes": 6, "model_args": {"in_chans": 1}}
    write_card(tmp_path, **card, pretrained_cfg=preprocessing(32, channels=1))
    predictions = predictions_of(write_weights(tmp_path, network))
    wanted = preprocessing(32, channels=1) | {"interpolation": "bilinear"}
    transform = timm.data.create_transform(**wanted)
    images = torch.stack([transform(image.convert("L")) for image in random_images(IMAGES)])
    assert_close(predictions.logits_NK, network(images))


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    """A good timm teacher that a test may spoil."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=6)
    write_card(
        tmp_path, architecture="test_resnet", num_classes=6, pretrained_cfg=preprocessing(32)
    )
    return write_weights(tmp_path, network)


def change_card(folder: Path, **entries: Any) -> None:
    card = json.loads((folder / "config.json").read_text())
    write_card(folder, **(card | entries))


def change_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_half_precision_weights_are_read(resnet):
    expected = predictions_of(resnet).logits_NK
    change_weights(resnet, lambda w: w.update({k: v.half() for k, v in w.items() if v.ndim > 1}))
    torch.testing.assert_close(predictions_of(resnet).logits_NK, expected, rtol=0.1, atol=0.01)


def test_weights_of_another_architecture_are_invalid(resnet):
    change_card(resnet, architecture="test_vit")
    error = failure(resnet)
    assert error.status is Status.INVALID
    assert "the weights do not fit the architecture: " in error.reason


def test_another_number_of_classes_is_invalid(resnet):
    change_card(resnet, num_classes=7)
    error = failure(resnet)
    assert error.status is Status.INVALID
    assert "is of shape [6" in error.reason


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("conv1.0.weight"),
        lambda weights: weights.update({"extra": torch.zeros(1)}),
    ],
)
def test_missing_and_superfluous_weights_are_invalid(resnet, change):
    change_weights(resnet, change)
    error = failure(resnet)
    assert error.status is Status.INVALID
    assert "the weights do not fit the architecture: " in error.reason


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:20],
        lambda _: b"",
        lambda _: b"\xff" * 64,
        lambda _: b"PK\x03\x04 not at all",
        lambda _: b"\x80\x02}q\x00.",
        lambda content: (2**62).to_bytes(8, "little") + content[8:],
    ],
)
def test_damaged_weights_are_invalid(resnet, spoil):
    file = resnet / "model.safetensors"
    file.write_bytes(spoil(file.read_bytes()))
    error = failure(resnet)
    assert error.status is Status.INVALID
    assert error.reason.startswith("the weights file ")


def test_weights_that_disappeared_are_invalid(resnet):
    card = card_of(resnet)
    with pytest.raises(TeacherError, match="No such file"):
        load_teacher(card, resnet / "gone.safetensors", CPU)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_predictions_that_are_no_numbers_are_invalid(resnet, value):
    change_weights(resnet, lambda weights: weights["fc.weight"].fill_(value))
    error = failure(resnet)
    assert error.status is Status.INVALID
    assert "not finite" in error.reason


def test_an_unknown_architecture_is_unsupported_with_near_names(resnet):
    change_card(resnet, architecture="resnet81")
    error = failure(resnet)
    assert error.status is Status.UNSUPPORTED
    assert f"unknown architecture of timm {timm.__version__} 'resnet81'" in error.reason
    assert "'resnet18'" in error.reason
    change_card(resnet, architecture="resnet81", library_name="torchvision")
    error = failure(resnet)
    assert error.status is Status.UNSUPPORTED
    assert "'resnet18'" in error.reason


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:timm/resnet18.a1_in1k",
        "hf_hub:timm/resnet18.a1_in1k",
        "local-dir:/etc",
        "https://example.org/resnet18",
        "../resnet18",
        "resnet18/../../x",
        "",
    ],
)
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_an_architecture_cannot_name_another_place(resnet, name, library, monkeypatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("a teacher reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    change_card(resnet, architecture=name, library_name=library)
    assert failure(resnet).status is Status.UNSUPPORTED


@pytest.mark.parametrize(
    "entry",
    [
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "num_classes",
    ],
)
def test_model_args_cannot_read_other_files(resnet, entry):
    change_card(resnet, model_args={entry: "/etc/passwd", "drop_rate": 0.1})
    error = failure(resnet)
    assert (error.status, error.reason) == (
        Status.UNTRUSTED,
        f"model_args may not set {entry}: remove them",
    )


@pytest.mark.parametrize("entry", ["weights", "weights_backbone", "progress", "num_classes"])
def test_model_args_cannot_download(resnet, entry):
    change_card(
        resnet, library_name="torchvision", architecture="resnet18", model_args={entry: "DEFAULT"}
    )
    error = failure(resnet)
    assert error.status is Status.UNTRUSTED
    assert entry in error.reason


@pytest.mark.parametrize(
    "arguments", [{"no_such_argument": 1}, {"model_name": "resnet50"}, {"layers": "many"}]
)
@pytest.mark.parametrize(
    ("library", "name"), [("timm", "test_resnet"), ("torchvision", "resnet18")]
)
def test_arguments_that_the_architecture_does_not_take_are_invalid(
    resnet, library, name, arguments
):
    change_card(resnet, library_name=library, architecture=name, model_args=arguments)
    error = failure(resnet)
    assert error.status is Status.INVALID
    assert f"{name} cannot be built from its card" in error.reason


def test_a_backbone_that_does_not_classify_is_invalid(tmp_path):
    args = {"features_only": True}
    network = timm.create_model("test_resnet", **args)
    card = {"architecture": "test_resnet", "num_classes": 6, "model_args": args}
    write_card(tmp_path, **card, pretrained_cfg=preprocessing(32))
    error = failure(write_weights(tmp_path, network))
    assert error.status is Status.INVALID
    assert "its card says 6 classes" in error.reason


def test_images_of_a_size_that_the_network_refuses_are_invalid(tmp_path):
    """timm's transformers assert their input's size."""
    name, args = "deit_tiny_patch16_224", {"img_size": 32, "depth": 1, "embed_dim": 48}
    network = timm.create_model(name, num_classes=6, **args)
    card = {"architecture": name, "num_classes": 6, "model_args": args}
    write_card(tmp_path, **card, pretrained_cfg=preprocessing(48))
    error = failure(write_weights(tmp_path, network))
    assert error.status is Status.INVALID
    assert "the forward pass fails: Input height (48) doesn't match model (32)" in error.reason


# Programs


def program(folder: Path, network: nn.Module, *, dynamic: bool = True, **entries: Any) -> Path:
    card = {"num_classes": 5, "pretrained_cfg": preprocessing(16)} | entries
    channels = card["pretrained_cfg"]["input_size"][0]
    return export(network, folder, torch.randn(4, channels, 16, 16), dynamic=dynamic, **card)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
@torch.inference_mode()
def test_programs_say_what_their_network_says(program_folder, pool_net, batch_size):
    predictions = predictions_of(program_folder, batch_size)
    logits, features = pool_net(timm_inputs(16))
    assert_close(predictions.logits_NK, logits)
    assert_close(predictions.features_ND, features)
    assert predictions.head_KD is None
    assert load(program_folder).parameters == sum(p.numel() for p in pool_net.parameters())


@pytest.mark.parametrize("batch_size", [1, 3, 4, 5, 64])
@torch.inference_mode()
def test_programs_of_a_fixed_batch_are_padded(tmp_path, batch_size):
    torch.manual_seed(0)
    network = PoolNet().eval()
    predictions = predictions_of(program(tmp_path, network, dynamic=False), batch_size)
    logits, features = network(timm_inputs(16))
    assert_close(predictions.logits_NK, logits)
    assert_close(predictions.features_ND, features)


@pytest.mark.parametrize("dynamic", [True, False])
@torch.inference_mode()
def test_programs_may_show_logits_only(tmp_path, dynamic):
    torch.manual_seed(0)
    network = PoolNet(returns="logits").eval()
    predictions = predictions_of(program(tmp_path, network, dynamic=dynamic))
    assert_close(predictions.logits_NK, network(timm_inputs(16)))
    assert predictions.features_ND is None


@torch.inference_mode()
def test_programs_may_see_grey(tmp_path):
    torch.manual_seed(0)
    network = PoolNet(channels=1).eval()
    wanted = preprocessing(16, channels=1)
    predictions = predictions_of(program(tmp_path, network, pretrained_cfg=wanted))
    transform = timm.data.create_transform(**wanted, interpolation="bilinear")
    images = torch.stack([transform(image.convert("L")) for image in random_images(IMAGES)])
    assert_close(predictions.logits_NK, network(images)[0])


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("returns", ["dict", "three"])
def test_programs_that_return_something_else_are_invalid(tmp_path, returns, dynamic):
    error = failure(program(tmp_path, PoolNet(returns=returns), dynamic=dynamic))
    assert error.status is Status.INVALID
    assert error.reason == "the program must return logits, or (logits, features)"


def test_features_that_are_no_vectors_are_invalid(tmp_path):
    error = failure(program(tmp_path, PoolNet(returns="maps")))
    assert error.status is Status.INVALID
    assert "features (7, 4, 1, 1) do not fit logits (7, 5)" in error.reason


def test_programs_of_another_number_of_classes_are_invalid(tmp_path):
    error = failure(program(tmp_path, PoolNet(), num_classes=6))
    assert error.status is Status.INVALID
    assert error.reason == "its logits for 7 images are (7, 5); its card says 6 classes"


@pytest.mark.parametrize("dynamic", [True, False])
def test_programs_for_images_of_another_size_are_invalid(tmp_path, dynamic):
    folder = program(tmp_path, PoolNet(), pretrained_cfg=preprocessing(16), dynamic=dynamic)
    change_card(folder, pretrained_cfg=preprocessing(24))
    error = failure(folder)
    assert error.status is Status.INVALID
    assert "the forward pass fails" in error.reason


def test_programs_that_take_no_images_are_invalid(tmp_path):
    folder = export(nn.Linear(8, 5), tmp_path, torch.randn(4, 8), num_classes=5)
    error = failure(folder)
    assert (error.status, error.reason) == (Status.INVALID, "the program takes no image")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a program", b"PK\x05\x06" + b"\0" * 18, b"PK\x03\x04" + b"\0" * 100],
)
def test_files_that_are_no_programs_are_invalid(tmp_path, content):
    (tmp_path / "model.pt2").write_bytes(content)
    write_card(tmp_path, library_name="torch.export", num_classes=5)
    error = failure(tmp_path)
    assert error.status in (Status.INVALID, Status.UNTRUSTED)
    assert failure(tmp_path, trust_code=True).status is Status.INVALID


def test_half_a_program_is_invalid(tmp_path, program_folder):
    content = (program_folder / "model.pt2").read_bytes()
    write_card(tmp_path, library_name="torch.export", num_classes=5)
    (tmp_path / "model.pt2").write_bytes(content[: len(content) // 2])
    assert failure(tmp_path).status is Status.INVALID


@pytest.fixture
def torchscript(tmp_path: Path) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    network = PoolNet(returns="logits").eval()
    with pytest.warns(FutureWarning):
        torch.jit.save(torch.jit.trace(network, torch.randn(2, 3, 16, 16)), tmp_path / "model.pt")
    write_card(
        tmp_path, library_name="torchscript", num_classes=5, pretrained_cfg=preprocessing(16)
    )
    return tmp_path, network


def test_torchscript_needs_trust(torchscript):
    error = failure(torchscript[0])
    assert error.status is Status.UNTRUSTED
    assert "--trust-code" in error.reason


@pytest.mark.filterwarnings("ignore::FutureWarning")
@torch.inference_mode()
def test_trusted_torchscript_says_what_its_network_says(torchscript):
    folder, network = torchscript
    predictions = predict(load(folder, trust_code=True), pixels_of(IMAGES))
    assert_close(predictions.logits_NK, network(timm_inputs(16)))
    (folder / "model.pt").write_bytes(b"garbage")
    assert failure(folder, trust_code=True).status is Status.INVALID


def test_trust_does_not_change_what_a_program_says(program_folder):
    trusted = predict(load(program_folder, trust_code=True), pixels_of(IMAGES))
    assert_close(trusted.logits_NK, predictions_of(program_folder).logits_NK)


# Digests


def test_the_digest_follows_weights_and_card(resnet):
    file = resnet / "model.safetensors"

    def digest() -> str:
        return teacher_digest(card_of(resnet), file)

    first = digest()
    assert digest() == first
    change_card(resnet, license="mit")
    relicensed = digest()
    change_weights(resnet, lambda weights: weights["fc.bias"].add_(1e-3))
    assert len({first, relicensed, digest()}) == 3
    card = card_of(resnet)
    file.unlink()
    with pytest.raises(TeacherError, match="weights file cannot be read"):
        teacher_digest(card, file)
