"""The folder that a student is saved in: a teacher folder, with its graph in two other formats."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from rayxkd.distill.students import StudentNetwork, StudentSpec
from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.teachers.card import CARD_FILE, WEIGHT_FILES
from rayxkd.teachers.errors import one_line

PROGRAM_FILE = WEIGHT_FILES["torch.export"]
ONNX_FILE = "model.onnx"
_LARGEST_BATCH = 65536


def check_onnx() -> None:
    """Find out before a student is trained whether it can be written as ONNX.

    Raises:
        UserError: a library is missing.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {' and '.join(missing)}: install rayxkd[onnx]")


def write_student(
    storage: Storage,
    student: StudentNetwork,
    spec: StudentSpec,
    label_names: Sequence[str],
    *,
    license: str | None,
    onnx: bool = False,
    graphs: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Save a student as ``model.safetensors``, ``config.json``, ``model.pt2`` and ``model.onnx``.

    Both graphs take normalised images, float32 [B, C, H, W] with any B, and return logits [B, M].
    Everything is made before anything is written. The card is written last, after that of an
    earlier student is gone: a folder that has one is whole.

    Args:
        storage: the folder.
        student: on any device; it is left as it is.
        spec: what it was built from.
        label_names: its M classes.
        license: of the student, if it has one.
        onnx: write ``model.onnx`` too.
        graphs: write ``model.pt2``, and ``model.onnx`` if asked for; without, a few seconds less.
        extra: further entries of the card.

    Raises:
        UserError: a library for ONNX is missing, and nothing is written; or the network cannot be
            exported, and its weights and its card are.
        OSError: the folder cannot be written.
    """
    if onnx:
        check_onnx()
    module = copy.deepcopy(student.module).cpu().float().eval()
    module = module.to(memory_format=torch.contiguous_format)
    width = {} if student.num_features is None else {"num_features": student.num_features}
    card = spec.card(label_names, license, {**(extra or {}), **width})
    files = {WEIGHT_FILES[spec.library]: _weights(module)}
    failure = None
    try:
        files |= _graphs(module, spec, onnx) if graphs else {}
    except Exception as error:  # torch's exporters raise errors of many kinds
        failure = UserError(f"student {spec.name} is saved, but not exported: {one_line(error)}")
        failure.__cause__ = error
    _replace(storage, files, json.dumps(card, indent=1, ensure_ascii=False).encode())
    if failure is not None:
        raise failure


def _replace(storage: Storage, files: Mapping[str, bytes], card: bytes) -> None:
    for name in (CARD_FILE, PROGRAM_FILE, ONNX_FILE):
        if name not in files:  # of an earlier student
            storage.remove(name)
    for name, content in files.items():
        storage.write(name, content)
    storage.write(CARD_FILE, card)


def _weights(module: nn.Module) -> bytes:
    from safetensors.torch import save

    # Copies, for tensors that share their memory are refused.
    return save({name: values.clone() for name, values in module.state_dict().items()})


def _graphs(module: nn.Module, spec: StudentSpec, onnx: bool) -> dict[str, bytes]:
    program = _export(module, spec)
    file = io.BytesIO()
    torch.export.save(program, file)
    graphs = {PROGRAM_FILE: file.getvalue()}
    if onnx:
        graphs[ONNX_FILE] = _onnx(program)
    return graphs


def _export(module: nn.Module, spec: StudentSpec) -> ExportedProgram:
    # With one image, or as many as there are channels, sizes that are equal would be held the same.
    example_BCHW = torch.zeros(2, *spec.preprocessing.input_size)
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)
    program = torch.export.export(module, (example_BCHW,), dynamic_shapes=({0: batch},))
    for graph_module in program.graph_module.modules():
        for node in getattr(getattr(graph_module, "graph", None), "nodes", ()):
            # The lines of source that made it, with the paths of this machine.
            node.meta.pop("stack_trace", None)
    return program


def _onnx(program: ExportedProgram) -> bytes:
    exported = torch.onnx.export(
        program,
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert exported is not None
    content: bytes = exported.model_proto.SerializeToString()
    return content
