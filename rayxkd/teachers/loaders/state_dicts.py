"""Weights of a file, safetensors or a pickled state dict, once what it declares is checked.

Pickles are read by torch's restricted reader (``weights_only``), which knows tensors and
containers and refuses everything else. They are first read without memory, as shapes alone: so what
they declare can be compared with the size of the file.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError, one_line
from rayxkd.teachers.loaders.foreign import invalid_where_it_fails
from rayxkd.teachers.loaders.safetensors_header import (
    LARGEST_HEADER,
    SafetensorsHeader,
    StoredTensor,
    read_header,
)

# Where training scripts keep the weights among other things, and what wrappers put before names.
_KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.")
_OF_SCRIPTS = "/constants.pkl"
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class StoredWeights:
    """Weights that are not read yet.

    Attributes:
        header: names, shapes and bytes.
        read: reads them to the CPU.
    """

    header: SafetensorsHeader
    read: Callable[[], dict[str, Tensor]]


def open_weights(path: Path, name: str = "") -> StoredWeights:
    """Look at a weights file.

    Args:
        path: a safetensors file, or whatever ``torch.save`` wrote.
        name: what it is called in its repository, where a copy of it has another name.

    Raises:
        TeacherError: ``invalid``: it cannot be read, or declares other sizes than it has;
            ``untrusted``: it asks for more than tensors.
    """
    if (name or path.name).endswith(".safetensors"):
        from safetensors.torch import load_file

        return StoredWeights(read_header(path), partial(load_file, path))
    mapped = _is_archive(path)
    header = _sizes(_load(path, sketch=True), path)
    return StoredWeights(header, lambda: _load(path, mmap=mapped))


def _is_archive(path: Path) -> bool:
    """Whether it has torch's format since 1.6, a zip archive; checks that it is no bomb."""
    try:
        size = path.stat().st_size
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise _invalid(f"cannot be read: {one_line(error)}") from error
    if any(member.filename.endswith(_OF_SCRIPTS) for member in members):
        reason = "the weights file is a TorchScript archive, which is a program"
        raise TeacherError(Status.UNTRUSTED, reason)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _invalid("is a compressed archive, which torch never writes")
    if sum(member.file_size for member in members) > size:
        raise _invalid("is an archive that declares more bytes than it has")
    for member in members:
        if member.filename.endswith("data.pkl") and member.file_size > LARGEST_HEADER:
            raise _invalid(f"describes its tensors in more than {LARGEST_HEADER} bytes")
    return True


def _load(path: Path, *, sketch: bool = False, mmap: bool = False) -> dict[str, Tensor]:
    """The state dict; of tensors without memory where only a sketch is wanted."""
    failing = invalid_where_it_fails("the weights file is nothing that torch.save wrote")
    with failing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = _unpickled(path, sketch=sketch, mmap=mmap)
    return _unwrapped(content)


def _unpickled(path: Path, *, sketch: bool, mmap: bool) -> Any:
    try:
        if sketch:
            with FakeTensorMode():
                return torch.load(path, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise _refused(error) from error


def _refused(error: pickle.UnpicklingError) -> TeacherError:
    asked = _GLOBAL.search(str(error))
    what = f"that asks for {asked[1][:80]}" if asked else "of something else than tensors"
    return TeacherError(
        Status.UNTRUSTED,
        f"the weights file is a pickle {what}, and only tensors are read from pickles: save its "
        "state_dict as model.safetensors",
    )


def _unwrapped(content: Any) -> dict[str, Tensor]:
    """The tensors by name, without what training scripts and wrappers put around them."""
    for key in _KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise _invalid(f"holds no state dict, nor one under {', '.join(_KEYS)}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _invalid(f"holds {str(name)[:80]!r}, which is no tensor, in its state dict")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): value for name, value in content.items()}
    return dict(content)


def _sizes(state: Mapping[str, Tensor], path: Path) -> SafetensorsHeader:
    """What a sketch declares, as a header; more than the file holds is refused."""
    held = path.stat().st_size
    storages = {}
    tensors, begin = {}, 0
    for name, tensor in state.items():
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        nbytes = tensor.numel() * tensor.element_size()
        if nbytes > held:
            raise _invalid(f"has {held} bytes, but declares {name[:80]!r} of {nbytes}")
        shape = tuple(int(size) for size in tensor.shape)
        tensors[name] = StoredTensor(str(tensor.dtype), shape, begin, begin + nbytes)
        begin += nbytes
    if sum(storages.values()) > held:
        raise _invalid(f"has {held} bytes, but declares tensors of {sum(storages.values())}")
    return SafetensorsHeader(tensors, {})


def _invalid(what: str) -> TeacherError:
    return TeacherError(Status.INVALID, f"the weights file {what}")
