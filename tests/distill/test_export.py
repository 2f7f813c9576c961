from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from rayxkd.distill.export import check_onnx, write_student
from rayxkd.distill.students import StudentNetwork, StudentSpec, build_student, student_spec
from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.teachers import TeacherCard, predict
from rayxkd.teachers.loaders.programs import load_exported
from tests.teachers.folders import CPU, card_of, load, pixels_of

NAMES = ("daisy", "rose", "ten | o'clock", "tulip <b>", "ünïcödé")
SLOW = [
    pytest.param("torchvision/mobilenet_v3_small", marks=pytest.mark.slow),
    pytest.param("timm/resnet10t", marks=pytest.mark.slow),
]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def student_of(name: str, seed: int = 0, **how: Any) -> tuple[StudentNetwork, StudentSpec]:
    """A student that has seen some images: its normalisations hold statistics, as after training,
    and its logits differ from image to image."""
    spec = student_spec(name, len(NAMES), **how)
    torch.manual_seed(seed)
    student = build_student(spec)
    normalisations = [layer for layer in student.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in normalisations:
            layer.momentum = None  # plain averages
            layer.weight.add_(torch.rand_like(layer.weight) - 0.5)
            layer.bias.add_(torch.rand_like(layer.bias) - 0.5)
        for _ in range(5):
            student(torch.randn(16, *spec.preprocessing.input_size))
    return student, spec


@pytest.fixture(scope="module", params=["small_resnet8", *SLOW])
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, StudentNetwork]:
    """A student's folder, and the student."""
    student, spec = student_of(request.param, image_size=48)
    folder = tmp_path_factory.mktemp("student")
    write_student(Storage.at(str(folder)), student, spec, NAMES, license="mit", onnx=True)
    return folder, student


def images_for(folder: Path) -> Tensor:
    """Seven images as the folder's card wants them."""
    return pixels_of(7).batch(card_of(folder).preprocessing, slice(None))


@torch.inference_mode()
def expected_logits(student: StudentNetwork, images: Tensor) -> Tensor:
    training = student.training
    logits_BM: Tensor = student.eval().module(images)
    student.train(training)
    assert logits_BM.std(dim=0).min() > 1e-3  # or all images would look the same
    return logits_BM


def test_the_folder_is_a_teacher(saved):
    folder, student = saved
    card = card_of(folder)
    assert isinstance(card, TeacherCard)
    assert card.label_names == NAMES
    assert card.license == "mit"
    assert card.num_features == student.num_features
    predictions = predict(load(folder), pixels_of(7))
    expected = expected_logits(student, images_for(folder))
    torch.testing.assert_close(predictions.logits_NK, expected, **CLOSE)
    assert predictions.features_ND is not None
    assert predictions.head_KD is not None
    assert predictions.class_names == NAMES


@torch.inference_mode()
def test_the_program_says_the_same_with_any_batch(saved):
    folder, student = saved
    images = images_for(folder)
    program = torch.export.load(folder / "model.pt2").module()
    for count in (1, 2, 7):
        expected = expected_logits(student, images)[:count]
        torch.testing.assert_close(program(images[:count]), expected, **CLOSE)


def test_the_program_passes_our_own_checks(saved):
    folder, student = saved
    images = images_for(folder)
    teacher = load_exported(card_of(folder), folder / "model.pt2", CPU)
    logits_BM, _ = teacher.forward(images)
    torch.testing.assert_close(logits_BM, expected_logits(student, images), **CLOSE)


def test_onnx_says_the_same_with_any_batch(saved):
    folder, student = saved
    images = images_for(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 3, 48, 48]
    for count in (1, 2, 7):
        (logits_BM,) = session.run(["logits"], {"images": images[:count].numpy()})
        expected = expected_logits(student, images)[:count].numpy()
        np.testing.assert_allclose(logits_BM, expected, **CLOSE)


def test_no_path_of_this_machine_is_in_the_files(saved):
    folder, _ = saved
    files = list(folder.iterdir())
    assert {file.name for file in files} == {
        "config.json",
        "model.onnx",
        "model.pt2",
        "model.safetensors",
    }
    for file in files:
        assert not re.search(rb"/\w+/[\w/.-]+\.py", file.read_bytes()), file.name


def written(folder: Path, student: StudentNetwork, spec: StudentSpec, **how: Any) -> dict[str, Any]:
    write_student(Storage.at(str(folder)), student, spec, NAMES, license=None, **how)
    return json.loads((folder / "config.json").read_text("utf-8"))


def test_a_grey_student_and_one_without_features(tmp_path):
    student, spec = student_of("small_resnet8", channels=1, image_size=28)
    card = written(tmp_path / "grey", student, spec, extra={"distilled": {"epochs": 3}})
    assert card["pretrained_cfg"]["input_size"] == [1, 28, 28]
    assert card["distilled"] == {"epochs": 3}
    assert predict(load(tmp_path / "grey"), pixels_of(3)).num_classes == 5
    student, spec = student_of("squeezenet1_1", image_size=32)
    assert "num_features" not in written(tmp_path / "plain", student, spec)
    assert predict(load(tmp_path / "plain"), pixels_of(3)).features_ND is None


def test_the_student_stays_as_it_was(tmp_path):
    student, spec = student_of("small_resnet8")
    student = student.to(memory_format=torch.channels_last)
    before = {name: values.clone() for name, values in student.state_dict().items()}
    written(tmp_path, student, spec)
    assert all(layer.training for layer in student.modules())
    assert student.module.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(before[name], now) for name, now in student.state_dict().items())


@torch.inference_mode()
def test_a_later_student_leaves_nothing_of_an_earlier_one(tmp_path):
    written(tmp_path, *student_of("small_resnet8", seed=1), onnx=True)
    (tmp_path / "README.md").write_text("mine")
    student, spec = student_of("small_resnet8", seed=2)
    written(tmp_path, student, spec)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"README.md", "config.json", "model.pt2", "model.safetensors"}
    images = images_for(tmp_path)
    found = torch.export.load(tmp_path / "model.pt2").module()(images)
    torch.testing.assert_close(found, expected_logits(student, images), **CLOSE)


class Unexportable(nn.Module):
    """Asks its numbers what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.head(images.flatten(1))
        return logits if float(logits.detach().sum()) > 0 else logits + 1


def test_weights_are_saved_where_the_graph_cannot_be(tmp_path):
    written(tmp_path, *student_of("small_resnet8"), onnx=True)
    spec = student_spec("small_resnet8", 5, image_size=2)
    student = StudentNetwork(Unexportable(), 5, torch.ones(2, 3, 2, 2))
    with pytest.raises(UserError, match="small_resnet8 is saved, but not exported: "):
        written(tmp_path, student, spec)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_a_student_that_cannot_be_written_whole_has_no_card(tmp_path, monkeypatch):
    student, spec = student_of("small_resnet8")
    written(tmp_path, student, spec)
    write = Storage.write

    def full(self: Storage, relative: str, content: bytes) -> None:
        if relative == "model.pt2":
            raise OSError("no space left")
        write(self, relative, content)

    monkeypatch.setattr(Storage, "write", full)
    with pytest.raises(OSError, match="no space left"):
        written(tmp_path, student, spec)
    assert not (tmp_path / "config.json").exists()


def test_wrong_label_names_write_nothing(tmp_path):
    student, spec = student_of("small_resnet8")
    with pytest.raises(ValueError, match="1 label names for 5 classes"):
        write_student(Storage.at(str(tmp_path)), student, spec, ["a"], license=None)
    assert not list(tmp_path.iterdir())


def test_a_missing_library_for_onnx_is_told_before_anything_is_written(tmp_path, monkeypatch):
    check_onnx()
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "onnxscript" else find(name, *rest),
    )
    with pytest.raises(UserError, match=r"ONNX needs onnxscript: install rayxkd\[onnx\]"):
        check_onnx()
    with pytest.raises(UserError, match="onnxscript"):
        written(tmp_path, *student_of("small_resnet8"), onnx=True)
    assert not list(tmp_path.iterdir())


def test_a_student_is_written_to_an_object_store(bucket):
    student, spec = student_of("small_resnet8")
    storage = Storage.at(f"{bucket}/students/first")
    write_student(storage, student, spec, NAMES, license=None)
    write_student(storage, student, spec, NAMES, license=None)
    storage.refresh()
    assert list(storage.find()) == ["config.json", "model.pt2", "model.safetensors"]
