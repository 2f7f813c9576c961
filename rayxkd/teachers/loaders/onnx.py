"""Teachers as ONNX files, computed by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rayxkd.status import Status
from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.foreign import invalid_where_it_fails
from rayxkd.teachers.loaders.programs import ProgramTeacher

# Types of an image that a network may take, as onnxruntime names them.
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
_KNOWN_DOMAINS = ("ai.onnx", "com.microsoft")
_WARNINGS_OFF = 4
# Protocol buffers end there; larger networks keep their weights in other files.
_LARGEST = 2**31 - 1


class _Session:
    """An ONNX network that is called with images and returns its outputs as tensors."""

    def __init__(self, session: Any, device: torch.device) -> None:
        self._session, self._device = session, device
        (self._input,) = session.get_inputs()
        self._dtype = _FLOATS[self._input.type]

    def __call__(self, images_BCHW: Tensor) -> list[Tensor]:
        images = np.ascontiguousarray(images_BCHW.float().cpu().numpy(), dtype=self._dtype)
        outputs = self._session.run(None, {self._input.name: images})
        return [torch.from_numpy(np.asarray(one)).to(self._device) for one in outputs]

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the network wants, ``None`` where it takes any."""
        shape = self._input.shape
        return int(shape[0]) if shape and isinstance(shape[0], int) else None


def load_onnx(card: TeacherCard, weights: Path, device: torch.device) -> ProgramTeacher:
    """A network with one image input and the output logits, or logits and features.

    On a GPU it computes there where onnxruntime was built for it, and on the CPU otherwise.

    Raises:
        TeacherError: onnx or onnxruntime is missing, the file is no network, keeps its weights in
            other files, or uses operators that onnxruntime does not know.
    """
    parameters = _check(weights)
    session = _Session(_session(weights, device), device)
    return ProgramTeacher(card, session, device, session.fixed_batch, parameters)


def signature(path: Path) -> tuple[tuple[int | None, ...], tuple[tuple[int | None, ...], ...]]:
    """Shape of a file's image and of its outputs; sizes that are free are ``None``.

    Raises:
        TeacherError: as :func:`load_onnx`.
    """
    _check(path)
    session = _session(path, torch.device("cpu"))
    image, *outputs = [
        tuple(size if isinstance(size, int) else None for size in one.shape)
        for one in (*session.get_inputs(), *session.get_outputs())
    ]
    return image, tuple(outputs)


def _check(weights: Path) -> int:
    """How many numbers the network holds, once it is sure that all of them are in the file."""
    onnx = _library("onnx")
    with invalid_where_it_fails("it is no ONNX file"):
        if weights.stat().st_size > _LARGEST:
            raise TeacherError(Status.INVALID, f"an ONNX file has at most {_LARGEST} bytes")
        model = onnx.load(str(weights), load_external_data=False)
    graphs = [model.graph, *model.functions]
    if any(one.data_location == one.EXTERNAL for graph in graphs for one in _tensors(graph)):
        reason = "its weights are in other files (external data): save it as one file"
        raise TeacherError(Status.UNSUPPORTED, reason)
    defined = {"", *(function.domain for function in model.functions)}
    for domain in sorted({one.domain for one in model.opset_import} - defined):
        if not domain.startswith(_KNOWN_DOMAINS):
            reason = f"it uses operators of '{domain[:80]}', which are code that is not loaded"
            raise TeacherError(Status.UNTRUSTED, reason)
    # Shapes and places are stored as INT64, beside the weights.
    numbers = (one for one in model.graph.initializer if one.data_type != one.INT64)
    return sum(int(np.prod(one.dims)) for one in numbers)


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph or function, and of the graphs in it."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _session(weights: Path, device: torch.device) -> Any:
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = _WARNINGS_OFF
    wanted = [_PROVIDERS[device.type], _PROVIDERS["cpu"]] if device.type in _PROVIDERS else []
    known = runtime.get_available_providers()
    with invalid_where_it_fails(f"onnxruntime {runtime.__version__} cannot run it"):
        session = runtime.InferenceSession(
            str(weights),
            options,
            providers=[one for one in dict.fromkeys([*wanted, _PROVIDERS["cpu"]]) if one in known],
        )
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _FLOATS:
        told = ", ".join(f"{one.name} {one.type}{one.shape}" for one in inputs)
        raise TeacherError(Status.INVALID, f"it takes {told[:200]}: one image of floats is given")
    return session


def _library(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        reason = f"needs {name}, which is not installed: install rayxkd[onnx]"
        raise TeacherError(Status.UNSUPPORTED, reason) from error
