"""Pickled state dicts: the same weights as in safetensors, and nothing but tensors."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from rayxkd.status import Status
from rayxkd.teachers import ProbePixels, TeacherError, predict
from rayxkd.teachers.loaders.state_dicts import open_weights
from rayxkd.teachers.networks import create_network
from tests.teachers.folders import (
    assert_close,
    load,
    pixels_of,
    preprocessing,
    write_card,
    write_weights,
)
from tests.teachers.transformers_folders import write_transformers

State = dict[str, Any]
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "timm": ("test_resnet", lambda: timm.create_model("test_resnet", num_classes=3)),
    "torchvision": (
        "shufflenet_v2_x0_5",
        lambda: models.get_model("shufflenet_v2_x0_5", num_classes=3),
    ),
    "rayxkd": ("small_resnet8", lambda: create_network("small_resnet8", 3)),
}


def teacher_folder(folder: Path, library: str) -> tuple[Path, State]:
    architecture, create = NETWORKS[library]
    torch.manual_seed(0)
    network = create()
    write_card(
        folder,
        library_name=library,
        architecture=architecture,
        num_classes=3,
        pretrained_cfg=preprocessing(32),
    )
    return folder, network.state_dict()


def zipped(state: Any, path: Path) -> None:
    torch.save(state, path)


def before_1_6(state: Any, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def plainly(state: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(state))


@pytest.mark.parametrize("save", [zipped, before_1_6])
@pytest.mark.parametrize("library", NETWORKS)
def test_answers_are_those_of_the_same_weights_in_safetensors(
    library: str, save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    folder, state = teacher_folder(tmp_path / "pickled", library)
    save(state, folder / "best.pth")
    other, _ = teacher_folder(tmp_path / "safe", library)
    network = NETWORKS[library][1]()
    network.load_state_dict(state)
    write_weights(other, network)
    pixels = pixels_of(4)
    found, expected = predict(load(folder), pixels), predict(load(other), pixels)
    assert torch.equal(found.logits_NK, expected.logits_NK)
    assert found.features_ND is not None
    assert expected.features_ND is not None
    assert torch.equal(found.features_ND, expected.features_ND)


WRAPPED: list[Callable[[State], Any]] = [
    lambda state: {"state_dict": state, "epoch": 7, "optimizer": {"state": {}, "lr": 0.1}},
    lambda state: {"model": state, "best": 0.9},
    lambda state: {"module." + name: one for name, one in state.items()},
    lambda state: {"model": {"_orig_mod." + name: one for name, one in state.items()}},
    lambda state: {"module._orig_mod." + name: one for name, one in state.items()},
    lambda state: {
        name: nn.Parameter(one) if one.ndim == 4 else one for name, one in state.items()
    },
]


@pytest.mark.parametrize("case", range(len(WRAPPED)))
def test_what_training_scripts_put_around_them_is_taken_off(case: int, tmp_path: Path) -> None:
    folder, state = teacher_folder(tmp_path / "t", "rayxkd")
    torch.save(WRAPPED[case](state), folder / "pytorch_model.bin")
    network = NETWORKS["rayxkd"][1]()
    network.load_state_dict(state)
    pixels = pixels_of(3)
    teacher = load(folder)
    batch = pixels.batch(teacher.card.preprocessing, slice(0, 3))
    with torch.inference_mode():
        expected = network.eval()(batch)
    assert_close(predict(teacher, pixels).logits_NK, expected)


def test_a_folder_of_transformers_may_be_pickled(tmp_path: Path) -> None:
    folder = write_transformers(tmp_path / "vit", "vit")
    pixels: ProbePixels = pixels_of(3)
    expected = predict(load(folder), pixels).logits_NK
    state = open_weights(folder / "model.safetensors").read()
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(predict(load(folder), pixels).logits_NK, expected)


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Flatten()), path)  # type: ignore[no-untyped-call]


def _compressed(path: Path) -> None:
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(10_000)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def _boasting(path: Path) -> None:
    """A tensor of a terabyte: one number that is repeated."""
    torch.save({"weight": torch.zeros(1).expand(2**38)}, path)


def _terabytes(path: Path) -> None:
    """The old format tells the sizes of storages before their bytes."""
    torch.save({"weight": torch.zeros(40)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    at = content.index(b"cpu") + 3
    place = content.index(b"K\x28", at)
    path.write_bytes(
        content[:place] + b"\x8a\x06" + (2**40).to_bytes(6, "little") + content[place + 2 :]
    )


REFUSED: dict[str, tuple[Callable[[Path], Any], Status, str]] = {
    "text": (lambda path: path.write_bytes(b"hello"), Status.INVALID, "nothing that torch.save"),
    "empty": (lambda path: path.write_bytes(b""), Status.INVALID, "nothing that torch.save"),
    "module": (lambda path: torch.save(nn.Flatten(), path), Status.UNTRUSTED, "asks for torch.nn"),
    "script": (_script, Status.UNTRUSTED, "TorchScript"),
    "compressed": (_compressed, Status.INVALID, "compressed"),
    "boasting": (_boasting, Status.INVALID, "declares 'weight' of"),
    "terabytes": (_terabytes, Status.INVALID, "declares tensors of"),
    "number": (lambda path: torch.save(7, path), Status.INVALID, "no state dict"),
    "nothing": (lambda path: torch.save({}, path), Status.INVALID, "no state dict"),
    "list": (lambda path: torch.save([torch.zeros(2)], path), Status.INVALID, "no state dict"),
    "mixed": (
        lambda path: torch.save({"a": torch.zeros(2), "epoch": 3}, path),
        Status.INVALID,
        "'epoch', which is no tensor",
    ),
    "names": (lambda path: torch.save({1: torch.zeros(2)}, path), Status.INVALID, "'1', which is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_state_dict_says_why(name: str, tmp_path: Path) -> None:
    write, status, words = REFUSED[name]
    folder, _ = teacher_folder(tmp_path / "t", "rayxkd")
    write(folder / "model.pth")
    with pytest.raises(TeacherError) as error:
        load(folder)
    assert (error.value.status, words in error.value.reason) == (status, True), error.value.reason


@pytest.mark.parametrize("save", [zipped, before_1_6, plainly])
def test_a_pickle_that_runs_a_command_runs_nothing(
    save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    folder, state = teacher_folder(tmp_path / "t", "rayxkd")
    canary = tmp_path / "canary"
    save({"state_dict": state, "more": Command(canary)}, folder / "model.pth")
    with pytest.raises(TeacherError) as error:
        load(folder)
    assert error.value.status is Status.UNTRUSTED, error.value.reason
    assert "and only tensors are read from pickles" in error.value.reason
    asks = "is a pickle that asks for posix.system" in error.value.reason
    assert asks == (save in (zipped, before_1_6))
    assert not canary.exists()


def test_no_damage_raises_anything_else(tmp_path: Path) -> None:
    folder, state = teacher_folder(tmp_path / "t", "rayxkd")
    file = folder / "model.pth"
    torch.save(state, file)
    whole = file.read_bytes()
    refused = 0
    for place in [*range(0, 2000, 97), *range(2000, len(whole), len(whole) // 60)]:
        changed = bytearray(whole)
        changed[place] ^= 0x5A
        for content in (bytes(changed), whole[:place]):
            file.write_bytes(content)
            with contextlib.suppress(TeacherError):
                load(folder)
                continue
            refused += 1
    assert refused > 60
