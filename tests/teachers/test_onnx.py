"""ONNX files: onnxruntime's answers, features where there are any, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rayxkd.assess import AssessSettings, assess
from rayxkd.status import Status
from rayxkd.teachers import TeacherError, predict
from tests.teachers.folders import (
    PoolNet,
    assert_close,
    card_of,
    load,
    pixels_of,
    preprocessing,
    write_card,
)

CARD = {"library_name": "onnx", "num_classes": 5, "pretrained_cfg": preprocessing(16)}


def export(folder: Path, network: nn.Module, *, batch: int | None = None, **card: Any) -> Path:
    """A teacher folder with a network as ONNX, its batch free or fixed."""
    write_card(folder, **CARD | card)
    example = torch.rand(batch or 2, 3, 16, 16)
    free = None if batch else ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        network.eval(), (example,), dynamo=True, dynamic_shapes=free, verbose=False
    )
    assert program is not None
    program.save(str(folder / "model.onnx"), external_data=False)
    return folder


def network(**options: Any) -> PoolNet:
    torch.manual_seed(0)
    return PoolNet(**options)


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("returns", ["both", "logits"])
def test_logits_are_those_of_onnxruntime(returns: str, batch: int | None, tmp_path: Path) -> None:
    folder = export(tmp_path / "t", network(returns=returns), batch=batch)
    pixels, teacher = pixels_of(6), load(folder)
    found = predict(teacher, pixels)
    images = pixels.batch(teacher.card.preprocessing, slice(0, 6))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (name,) = [one.name for one in session.get_inputs()]
    step = batch or 6
    padded = torch.cat([images, images[:2]]) if batch else images
    logits = [session.run(None, {name: part.numpy()})[0] for part in padded.split(step)]
    assert_close(found.logits_NK, torch.from_numpy(np.concatenate(logits))[:6])
    with torch.inference_mode():
        expected, features = network().eval()(images)
    assert_close(found.logits_NK, expected)
    assert teacher.parameters == sum(p.numel() for p in network().parameters())
    if returns == "both":
        assert_close(found.features_ND, features)
    else:
        assert found.features_ND is None


def test_a_scan_ranks_it(tmp_path: Path) -> None:
    export(tmp_path / "zoo/one", network(), num_features=4, label_names=list("abcde"))
    settings = AssessSettings(
        repository=(str(tmp_path / "zoo"),), out=str(tmp_path / "o"), workers=0
    )
    (row,) = assess(settings).leaderboard.table.to_pylist()
    assert (row["status"], row["reason"]) == ("ok", "")
    assert (row["num_classes"], row["num_features"]) == (5, 4)


def edited(folder: Path, change: Callable[[Any], Any]) -> None:
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _external(model: Any) -> None:
    (tensor, *_) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def _external_inside(model: Any) -> None:
    """In a constant, where a reader of initialisers alone would not look."""
    value = numpy_helper.from_array(np.zeros(3, np.float32))
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=value))


def _custom(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("evil.domain", 1))
    model.graph.node.append(helper.make_node("Run", [], ["x"], domain="evil.domain"))


def _unknown(model: Any) -> None:
    model.graph.node[0].op_type = "Convolve"


def _another_input(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))


def _doubles(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


REFUSED: dict[str, tuple[Callable[[Any], None], Status, str]] = {
    "external": (_external, Status.UNSUPPORTED, "external data"),
    "external inside": (_external_inside, Status.UNSUPPORTED, "external data"),
    "custom": (_custom, Status.UNTRUSTED, "'evil.domain', which are code"),
    "unknown": (_unknown, Status.INVALID, "cannot run it"),
    "another input": (_another_input, Status.INVALID, "one image of floats is given"),
    "doubles": (_doubles, Status.INVALID, "cannot run it"),
}


def reason_of(folder: Path) -> tuple[Status, str]:
    with pytest.raises(TeacherError) as error:
        predict(load(folder), pixels_of(2))
    assert error.value.reason.isprintable()
    return error.value.status, error.value.reason


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_says_why(name: str, tmp_path: Path) -> None:
    change, status, words = REFUSED[name]
    folder = export(tmp_path / "t", network())
    edited(folder, change)
    found, reason = reason_of(folder)
    assert (found, words in reason) == (status, True), reason


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, None])
def test_what_is_no_onnx_file_says_so(content: bytes | None, tmp_path: Path) -> None:
    folder = export(tmp_path / "t", network())
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[:-400] if content is None else content)
    assert reason_of(folder)[0] is Status.INVALID


def test_another_number_of_classes_is_invalid(tmp_path: Path) -> None:
    folder = export(tmp_path / "t", network(), num_classes=7)
    assert reason_of(folder) == (
        Status.INVALID,
        "its logits for 2 images are (2, 5); its card says 7 classes",
    )


def test_the_card_needs_its_file(tmp_path: Path) -> None:
    write_card(tmp_path / "t", **CARD)
    (tmp_path / "t/model.onnx").write_bytes(b"")
    assert card_of(tmp_path / "t").weights_file == "model.onnx"
