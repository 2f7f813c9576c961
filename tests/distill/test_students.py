from __future__ import annotations

import copy
import importlib.util
import pickle
import socket
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from rayxkd.distill.students import StudentNetwork, build_student, student_spec
from rayxkd.errors import UserError
from rayxkd.teachers import Preprocessing
from rayxkd.teachers.networks import create_network

SMALL = ["small_resnet8", "torchvision/mobilenet_v3_small", "timm/test_resnet"]


def built(name: str, classes: int = 5, **how: Any) -> StudentNetwork:
    torch.manual_seed(0)
    return build_student(student_spec(name, classes, **how))


def images_for(name: str, count: int = 3, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


# Names


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("small_resnet14", "rayxkd/small_resnet14"),
        ("rayxkd/small_resnet8", "rayxkd/small_resnet8"),
        ("resnet18", "torchvision/resnet18"),
        ("torchvision/resnet18", "torchvision/resnet18"),
        ("timm/resnet18", "timm/resnet18"),
        ("resnet10t", "timm/resnet10t"),
    ],
)
def test_a_name_is_looked_for_in_our_networks_torchvision_and_timm(name, found):
    spec = student_spec(name, 5)
    assert spec.name == found
    assert student_spec(spec.name, 5) == spec


def test_defaults_of_our_networks():
    spec = student_spec("small_resnet8", 5)
    assert spec.preprocessing == Preprocessing(
        (3, 32, 32), (0.5,) * 3, (0.25,) * 3, "bilinear", crop_pct=1.0
    )
    assert spec.num_classes == 5
    grey = student_spec("small_resnet8", 5, channels=1, image_size=28)
    assert grey.preprocessing == Preprocessing(
        (1, 28, 28), (0.5,), (0.25,), "bilinear", crop_pct=1.0
    )


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18"])
def test_defaults_of_other_libraries(name):
    wanted = student_spec(name, 5).preprocessing
    assert wanted.input_size == (3, 224, 224)
    assert (wanted.mean, wanted.std) == (Preprocessing().mean, Preprocessing().std)
    assert student_spec(name, 5, image_size=96).preprocessing.input_size == (3, 96, 96)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("small_resnet9", "did you mean 'small_resnet8'"),
        ("mobilnet_v3_small", "'mobilenet_v3_small'"),
        ("resnet10", "'resnet10t'"),
        ("torchvision/resnet10t", "'resnet10t'"),
        ("tim/resnet18", "did you mean 'timm'"),
        ("timm/hf-hub:timm/resnet18.a1_in1k", "Known: small_resnet8"),
        ("hf-hub:timm/resnet18.a1_in1k", "unknown library"),
        ("", "Known: small_resnet8"),
    ],
)
def test_an_unknown_name_is_told_with_near_ones_of_all_libraries(name, hint):
    with pytest.raises(UserError) as caught:
        student_spec(name, 5)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("how", [{"image_size": 0}, {"image_size": 5000}, {"channels": 2}])
def test_images_of_no_camera_are_refused(how):
    with pytest.raises(UserError, match="give"):
        student_spec("small_resnet8", 5, **how)


def test_without_timm_the_others_are_known(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "timm" else find(name)
    )
    assert student_spec("resnet18", 5).library == "torchvision"
    with pytest.raises(UserError, match=r"install rayxkd\[timm\]"):
        student_spec("timm/resnet10t", 5)
    with pytest.raises(UserError, match=r"unknown student 'resnet10t'"):
        student_spec("resnet10t", 5)


def test_torchvision_takes_no_grey_images():
    with pytest.raises(UserError, match="takes images of 3 channels, not 1"):
        student_spec("resnet18", 5, channels=1)


@pytest.mark.parametrize("name", ["small_resnet8", "timm/test_resnet"])
def test_a_grey_student_takes_grey_images(name):
    spec = student_spec(name, 5, channels=1, image_size=32)
    logits_BM, _ = build_student(spec)(torch.randn(2, 1, 32, 32))
    assert logits_BM.shape == (2, 5)


def test_a_specification_travels_between_processes():
    spec = student_spec("googlenet", 5)
    assert pickle.loads(pickle.dumps(spec)) == spec


# Networks


def bare(name: str) -> nn.Module:
    """The network as its library builds it."""
    torch.manual_seed(0)
    library, _, architecture = name.rpartition("/")
    if library == "torchvision":
        return torchvision.models.get_model(architecture, weights=None, num_classes=5)
    if library == "timm":
        return timm.create_model(architecture, num_classes=5)
    return create_network(architecture, 5)


@pytest.mark.parametrize("name", SMALL)
def test_the_bare_network_is_what_its_library_builds_from_the_same_seed(name):
    student, expected = built(name, image_size=32), bare(name)
    found = student.module.state_dict()
    assert list(found) == list(expected.state_dict())
    assert all(torch.equal(found[key], values) for key, values in expected.state_dict().items())
    assert student.training
    assert all(layer.training for layer in student.modules())
    images = images_for(name)
    with torch.inference_mode():
        torch.testing.assert_close(student.eval().module(images), expected.eval()(images))


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_features_are_what_the_head_makes_logits_of(name):
    student, images = built(name, image_size=32).eval(), images_for(name)
    logits_BM, features_BD = student(images)
    assert logits_BM.shape == (3, 5)
    assert features_BD.shape == (3, student.num_features)
    (head,) = [m for m in student.modules() if getattr(m, "out_features", 0) == 5]
    torch.testing.assert_close(head(features_BD), logits_BM)
    torch.testing.assert_close(logits_BM, student.module(images))
    assert not torch.equal(features_BD[0], features_BD[1])


@pytest.mark.parametrize("name", ["squeezenet1_1", "timm/deit_tiny_distilled_patch16_224"])
@torch.inference_mode()
def test_a_network_without_one_linear_head_shows_no_features(name):
    student = built(name, image_size=64).eval()
    images = images_for(name, side=64)
    logits_BM, features_BD = student(images)
    assert features_BD is None
    assert student.num_features is None
    torch.testing.assert_close(logits_BM, student.module(images))
    assert not any(type(layer).__name__ == "_OpenHead" for layer in student.modules())


class Scaled(nn.Module):
    """Its logits are not those of its last linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        return 2 * self.head(images.flatten(1))


def test_a_layer_that_does_not_explain_the_logits_is_no_head():
    student = StudentNetwork(Scaled(), 5, torch.randn(2, 3, 2, 2))
    assert student(torch.randn(4, 3, 2, 2))[1] is None


def test_gradients_flow_through_features_and_logits():
    student = built("small_resnet8")
    logits_BM, features_BD = student(images_for("small_resnet8"))
    (logits_BM.square().mean() + features_BD.square().mean()).backward()
    missing = [name for name, values in student.named_parameters() if values.grad is None]
    assert missing == []


def test_a_copy_is_its_own():
    student = built("small_resnet8").eval()
    twin = pickle.loads(pickle.dumps(copy.deepcopy(student)))
    with torch.no_grad():
        twin.module.head.weight.zero_()
        twin.module.head.bias.zero_()
        logits_BM, features_BD = twin(images_for("small_resnet8"))
        assert not logits_BM.any()
        assert features_BD.any()
        assert student(images_for("small_resnet8"))[0].all()


def test_a_failing_forward_leaves_the_network_bare():
    student, images = built("small_resnet8").eval(), images_for("small_resnet8")
    with pytest.raises(RuntimeError):
        student(images[:, :1])
    assert student.module(images).shape == (3, 5)


@pytest.mark.parametrize("training", [True, False])
def test_it_compiles_as_one_graph(training):
    student, images = built("small_resnet8").train(training), images_for("small_resnet8")
    compiled = torch.compile(student, backend="aot_eager", fullgraph=True)
    for found, expected in zip(compiled(images), student(images), strict=True):
        torch.testing.assert_close(found, expected)
    assert student.module(images).shape == (3, 5)


def test_it_exports_with_its_features():
    student, images = built("small_resnet8").eval(), images_for("small_resnet8")
    program = torch.export.export(student, (images,)).module()
    for found, expected in zip(program(images), student(images), strict=True):
        torch.testing.assert_close(found, expected)


def test_it_trains_in_data_parallel(tmp_path):
    init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        student = built("small_resnet8")
        parallel = DistributedDataParallel(student)
        for _ in range(2):
            logits_BM, features_BD = parallel(images_for("small_resnet8"))
            (logits_BM.mean() + features_BD.mean()).backward()
        assert all(values.grad is not None for values in student.parameters())
    finally:
        destroy_process_group()


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("a student reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("shufflenet_v2_x0_5", "timm/mobilenetv3_small_050"):
        built(name, image_size=32)


@pytest.mark.parametrize(
    ("name", "args"),
    [("timm/test_vit", {"img_size": 64}), ("vit_b_32", {"image_size": 64})],
)
def test_transformers_are_built_for_the_size(name, args):
    spec = student_spec(name, 5, image_size=64)
    assert spec.model_args == args
    assert build_student(spec).num_features is not None


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_left_out(name):
    student = built(name, image_size=96)
    assert student(torch.randn(2, 3, 96, 96))[0].shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "side"), [("densenet121", 8), ("timm/test_vit", 50), ("vit_b_16", 50)]
)
def test_a_size_that_does_not_suit_is_told_before_training(name, side):
    with pytest.raises(UserError, match=f"student .*{name.split('/')[-1]}"):
        built(name, image_size=side)


def test_a_network_that_does_not_classify_is_told():
    with pytest.raises(UserError, match="5 logits each"):
        StudentNetwork(nn.Flatten(), 5, torch.randn(2, 3, 4, 4))


# Cards


def test_a_card_needs_a_name_for_each_class():
    with pytest.raises(ValueError, match="2 label names for 5 classes"):
        student_spec("small_resnet8", 5).card(["a", "b"], None, {})


def test_further_entries_of_a_card_do_not_replace_its_own():
    extra = {"num_features": 128, "num_classes": 9, "distilled": {"teachers": ["a"]}}
    card = student_spec("small_resnet8", 2).card(["a", "b"], "mit", extra)
    assert card["num_classes"] == 2
    assert card["num_features"] == 128
    assert card["distilled"] == {"teachers": ["a"]}
    assert card["pretrained_cfg"]["license"] == "mit"
