"""Cards for bare weights files: what is seen, what is guessed, and what must be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from rayxkd.cli import main
from rayxkd.describing.settings import CardSettings
from rayxkd.describing.tensors import fits, named_in
from rayxkd.teachers.loaders.state_dicts import open_weights
from rayxkd.teachers.networks import create_network
from tests.teachers.folders import PoolNet, assert_close, load, pixels_of


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["card", *map(str, arguments)])
    return int(ended.value.code or 0)


def card(folder: Path) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return entries


def logits(network: nn.Module, folder: Path) -> None:
    """The teacher of a folder answers as a network does."""
    teacher, pixels = load(folder), pixels_of(2)
    batch = pixels.batch(teacher.card.preprocessing, slice(0, 2))
    with torch.inference_mode():
        expected = network.eval()(batch)
        found, _ = teacher.forward(batch)
    assert_close(found, expected)


def test_the_files_name_tells_the_architecture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = models.shufflenet_v2_x0_5(num_classes=7)
    torch.save(network.state_dict(), tmp_path / "shufflenet_v2_x0_5-5c106cde.pth")
    (tmp_path / "names.txt").write_text("\n".join("abcdefg") + "\n")
    assert (
        run(tmp_path / "shufflenet_v2_x0_5-5c106cde.pth", "--label-names", tmp_path / "names.txt")
        == 0
    )
    told = capsys.readouterr().out
    assert f"{tmp_path}/config.json: shufflenet_v2_x0_5, 7 classes" in told
    assert "torchvision's shufflenet_v2_x0_5 has the same tensors" in told
    assert card(tmp_path) == {
        "library_name": "torchvision",
        "architecture": "shufflenet_v2_x0_5",
        "num_classes": 7,
        "num_features": 1024,
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "interpolation": "bilinear",
            "crop_pct": 224 / 256.5,
        },
        "label_names": list("abcdefg"),
        "weights_file": "shufflenet_v2_x0_5-5c106cde.pth",
    }
    logits(network, tmp_path)


def test_an_architecture_is_found_by_its_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = create_network("small_resnet14", 4, width=8, in_chans=1)
    save_file(network.state_dict(), tmp_path / "best.safetensors")
    assert run(tmp_path / "best.safetensors") == 1
    assert "takes images of any size: give --input-size" in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists()
    options = ["--input-size", "28", "--mean", "0.5", "--std", "0.25", "--license", "mit"]
    # The stride is in no tensor: what is not told is the default.
    arguments = ["--model-args", '{"stem_stride": 1}']
    assert run(tmp_path / "best.safetensors", *options, *arguments) == 0
    entries = card(tmp_path)
    assert (entries["architecture"], entries["license"]) == ("small_resnet14", "mit")
    assert entries["model_args"] == {"in_chans": 1, "width": 8, "stem_stride": 1}
    assert entries["pretrained_cfg"] == {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.25]}
    logits(create_and_load(tmp_path, entries), tmp_path)


def create_and_load(folder: Path, entries: dict[str, Any]) -> nn.Module:
    network = create_network(
        entries["architecture"], entries["num_classes"], **entries["model_args"]
    )
    network.load_state_dict(open_weights(folder / "best.safetensors").read())
    return network


def test_several_files_get_a_folder_each(tmp_path: Path) -> None:
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = timm.create_model("test_resnet", num_classes=3)
        torch.save({"state_dict": network.state_dict()}, tmp_path / f"fold{seed}.ckpt")
    names = ["--architecture", "test_resnet", "--library", "timm"]
    assert run(tmp_path / "fold0.ckpt", tmp_path / "fold1.ckpt", *names) == 0
    assert (tmp_path / "fold0/fold0.ckpt").samefile(tmp_path / "fold0.ckpt")
    logits(network, tmp_path / "fold1")
    assert card(tmp_path / "fold0")["num_features"] == 96


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_programs_tell_their_shapes(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, example = PoolNet().eval(), torch.rand(2, 3, 20, 24)
    free = ({0: torch.export.Dim("batch")},)
    file = tmp_path / f"net.{kind}"
    if kind == "pt2":
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=free), file)
    else:
        program = torch.onnx.export(
            network, (example,), dynamo=True, dynamic_shapes=free, verbose=False
        )
        assert program is not None
        program.save(str(file), external_data=False)
    assert run(file, "--mean", "0.5", "0.5", "0.5", "--std", "0.2", "0.2", "0.2") == 0
    entries = card(tmp_path)
    assert (entries["num_classes"], entries["num_features"]) == (5, 4)
    assert entries["pretrained_cfg"]["input_size"] == [3, 20, 24]
    assert load(tmp_path).card.weights_file == f"net.{kind}"


def test_a_card_is_not_overwritten_unasked(tmp_path: Path) -> None:
    save_file(create_network("small_resnet8", 4).state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "config.json").write_text("mine")
    assert run(tmp_path / "a.safetensors", "--input-size", "16") == 1
    assert (tmp_path / "config.json").read_text() == "mine"
    assert run(tmp_path / "a.safetensors", "--input-size", "16", "--overwrite") == 0
    assert card(tmp_path)["num_classes"] == 4


FAULTS: list[tuple[list[str], str]] = [
    (["--architecture", "small_resnet9"], "small_resnet9"),
    (["--architecture", "small_resnet14"], "is no small_resnet14 of rayxkd"),
    (["--architecture", "resnet18"], "is no resnet18 of torchvision or timm"),
    (["--library", "torchvision"], "which no architecture of torchvision has"),
    (["--label-names", "none.txt"], "none.txt cannot be read"),
    (["--model-args", "width=4"], "--model-args is not JSON"),
    (["--model-args", "[4]"], "--model-args must be a JSON object"),
    (["--interpolation", "cubic"], "interpolation"),
    (["--std", "0", "1", "1"], "std"),
    (["--input-size", "-3"], "asks for images of"),
]


@pytest.mark.parametrize("case", range(len(FAULTS)))
def test_what_is_told_wrongly_is_one_line(
    case: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, words = FAULTS[case]
    file = tmp_path / "small_resnet8.safetensors"
    save_file(create_network("small_resnet8", 4).state_dict(), file)
    size = [] if "--input-size" in options else ["--input-size", "16"]
    assert run(file, *size, *options) == 1
    told = capsys.readouterr().err.strip()
    assert words in told
    assert told.count("\n") == 0
    assert not (tmp_path / "config.json").exists()


def test_files_that_are_none_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "bad.pth").write_bytes(b"bad")
    for files, words in (
        ([], "at least one weights file"),
        ([tmp_path / "none.pth"], "there is no file"),
        ([tmp_path / "notes.txt"], "is no weights file"),
        ([tmp_path / "bad.pth"], "nothing that torch.save wrote"),
    ):
        assert run(*files) == 1
        assert words in capsys.readouterr().err


def test_names_are_found_in_file_names() -> None:
    known = ["resnet18", "resnet1", "vit_b_16", "swin_t"]
    assert named_in("ResNet-18_best", known) == ["resnet18", "resnet1"]
    assert named_in("my-vit-b-16", known) == ["vit_b_16"]
    assert named_in("model", known) == []


def test_auxiliary_heads_are_seen(tmp_path: Path) -> None:
    for aux in (True, False):
        network = models.googlenet(num_classes=5, aux_logits=aux, init_weights=False)
        file = tmp_path / "a.safetensors"
        save_file(network.state_dict(), file)
        header = open_weights(file).header
        (fit,) = fits(header, "torchvision", ["googlenet"], CardSettings().arguments)
        assert fit.model_args == ({} if aux else {"aux_logits": False})
        assert fit.num_classes == 5


@pytest.mark.slow
@pytest.mark.long
def test_every_architecture_of_timm_is_looked_through(tmp_path: Path) -> None:
    network = timm.create_model("convnextv2_atto", num_classes=11, in_chans=1)
    save_file(network.state_dict(), tmp_path / "unknown.safetensors")
    assert run(tmp_path / "unknown.safetensors") == 0
    entries = card(tmp_path)
    assert entries["architecture"] == "convnextv2_atto"
    assert entries["pretrained_cfg"]["input_size"] == [1, 224, 224]
    logits(network, tmp_path)
