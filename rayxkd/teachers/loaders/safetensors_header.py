"""What a safetensors file says of itself, checked against the file before any tensor is read.

The format: eight bytes with the length of the header, the header as JSON, then the tensors' bytes
without gaps. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError, one_line

# Some 100 bytes describe a tensor: enough for 100,000 of them. Parsed, JSON may take twenty times
# its length in memory, which this keeps below half a gigabyte.
LARGEST_HEADER = 16 * 1024 * 1024
_ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2"), 1),
}
_MOST_DIMENSIONS = 16


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the header describes it.

    Attributes:
        dtype: the format's name for it, such as ``F32``.
        shape: as stored; () is a single number.
        begin: its first byte, from the end of the header.
        end: the byte behind its last.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """The tensors of a file whose header tells the truth about its size.

    Attributes:
        tensors: by name, in the order of the header.
        metadata: texts that the writer left.
    """

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.end - tensor.begin for tensor in self.tensors.values())


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check the header of a file; no tensor is read and nothing large is allocated.

    Raises:
        TeacherError: ``invalid``: the file cannot be read, its header is none or too long, or the
            sizes that it declares are not those of the file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(_start(file.read(8)), "little")
            if length > LARGEST_HEADER or length > size - 8:
                raise _invalid(_too_long(length, size))
            text = file.read(length)
    except OSError as error:
        raise _invalid(f"cannot be read: {one_line(error)}") from error
    return parse_header(text, size - 8 - length)


def parse_header(text: bytes, data_bytes: int) -> SafetensorsHeader:
    """Check a header against the number of bytes that follow it.

    Args:
        text: the header's JSON.
        data_bytes: how many bytes of tensors the file holds.

    Raises:
        TeacherError: as :func:`read_header`.
    """
    try:
        entries = json.loads(text.decode(), object_pairs_hook=_without_doubles)
        text.decode().encode()
    except (ValueError, RecursionError) as error:
        raise _invalid(f"has a header that is no JSON: {one_line(error)}") from error
    if not isinstance(entries, dict):
        raise _invalid("has a header that is no JSON object")
    metadata = _metadata(entries.pop("__metadata__", None))
    tensors = {name: _tensor(name, entry) for name, entry in entries.items()}
    _check_offsets(tensors, data_bytes)
    return SafetensorsHeader(tensors, metadata)


def _start(start: bytes) -> bytes:
    if len(start) < 8:
        raise _invalid("is empty" if not start else f"ends after {len(start)} bytes")
    return start


def _too_long(length: int, size: int) -> str:
    if length > size - 8:
        return f"claims a header of {length} bytes, but has {size} bytes in all"
    return f"has a header of {length} bytes: at most {LARGEST_HEADER} are read"


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; with two entries of one name, two readers could take different ones."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("it names an entry twice")
    return entries


def _metadata(entry: Any) -> dict[str, str]:
    entries = {} if entry is None else entry
    if not isinstance(entries, dict) or not all(isinstance(one, str) for one in entries.values()):
        raise _invalid("has metadata that are no texts")
    return entries


def _tensor(name: str, entry: Any) -> StoredTensor:
    shown = repr(name[:80])
    if not isinstance(entry, dict):
        raise _invalid(f"describes {shown} by something that is no object")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise _invalid(f"has {shown} of an unknown dtype {str(dtype)[:20]!r}")
    if not _are_sizes(shape) or len(shape) > _MOST_DIMENSIONS:
        raise _invalid(f"has {shown} of a shape that is none")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _invalid(f"has {shown} at data_offsets that are none")
    begin, end = offsets
    wanted = math.prod(shape) * _ITEM_BYTES[dtype]
    if end - begin != wanted:
        told = f"{dtype} {list(shape)} needs {wanted} bytes, its data_offsets hold {end - begin}"
        raise _invalid(f"has {shown} of another size than it says: {told}")
    return StoredTensor(dtype, tuple(shape), begin, end)


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
        for value in values
    )


def _check_offsets(tensors: Mapping[str, StoredTensor], data_bytes: int) -> None:
    """Every byte belongs to one tensor."""
    spans = sorted((tensor.begin, tensor.end, name) for name, tensor in tensors.items())
    ends = [(0, 0, ""), *spans]
    for (_, before, _), (begin, _, name) in pairwise(ends):
        if begin != before:
            what = "a gap before" if begin > before else "other tensors' bytes in"
            raise _invalid(f"has {what} {name[:80]!r}: data_offsets must follow one another")
    if ends[-1][1] != data_bytes:
        raise _invalid(
            f"holds {data_bytes} bytes of tensors, but its header declares {ends[-1][1]}: "
            "it is truncated or has something appended"
        )


def _invalid(what: str) -> TeacherError:
    return TeacherError(Status.INVALID, f"the weights file {what}")
