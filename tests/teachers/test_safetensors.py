"""Headers of safetensors files: what a writer writes is read, and nothing that lies."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.safetensors_header import LARGEST_HEADER, read_header


def written(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def reason_of(path: Path) -> str:
    with pytest.raises(TeacherError) as caught:
        read_header(path)
    assert caught.value.status is Status.INVALID
    return caught.value.reason


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    shape = list(shape) if isinstance(shape, tuple) else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def test_what_safetensors_writes_is_read(tmp_path):
    tensors = {
        "a": torch.zeros(2, 3),
        "half": torch.zeros(4, dtype=torch.bfloat16),
        "eight": torch.zeros(3, dtype=torch.float8_e4m3fn),
        "scalar": torch.tensor(7),
        "none": torch.zeros(0, 5),
        "flags": torch.zeros(3, dtype=torch.bool),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, {"format": "pt"})
    header = read_header(path)
    assert {name: one.shape for name, one in header.tensors.items()} == {
        name: tuple(one.shape) for name, one in tensors.items()
    }
    assert header.nbytes == sum(one.nbytes for one in tensors.values())
    assert header.metadata == {"format": "pt"}
    with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        assert set(file.keys()) == set(header.tensors)


@pytest.mark.parametrize(
    ("header", "data", "word"),
    [
        ({"a": entry(shape=(3,))}, bytes(8), "needs 12 bytes"),
        ({"a": entry()}, bytes(7), "truncated"),
        ({"a": entry()}, bytes(9), "appended"),
        ({"a": entry(), "b": entry()}, bytes(8), "other tensors' bytes"),
        ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), "a gap before 'b'"),
        ({"a": entry(offsets=(8, 0))}, bytes(8), "data_offsets that are none"),
        ({"a": entry(offsets=(-8, 0))}, bytes(8), "data_offsets that are none"),
        ({"a": entry(offsets=(0, 8.0))}, bytes(8), "data_offsets that are none"),
        ({"a": entry(shape=(True, 2))}, bytes(8), "of a shape that is none"),
        ({"a": entry(shape=(1,) * 17 + (2,))}, bytes(8), "of a shape that is none"),
        ({"a": entry(shape=(2**62, 2**62, 2**62))}, bytes(8), "of another size"),
        (
            {"a": entry(shape=(10**12,), offsets=(0, 4 * 10**12))},
            bytes(8),
            "declares 4000000000000",
        ),
        ({"a": entry("F33")}, bytes(8), "unknown dtype 'F33'"),
        ({"a": 3}, bytes(8), "no object"),
        ({"__metadata__": {"a": 3}}, b"", "metadata"),
        ([], b"", "no JSON object"),
        (b"{", b"", "no JSON"),
        (b"\xff\xfe", b"", "no JSON"),
        (b"[" * 100_000, b"", "no JSON"),
        (b'{"a": 1, "a": 1}', b"", "an entry twice"),
        (b'{"a": 1' + b"0" * 5000 + b"}", b"", "no JSON"),
    ],
)
def test_headers_that_lie_are_invalid(tmp_path, header, data, word):
    assert word in reason_of(written(tmp_path / "x", header, data))


def test_lengths_that_lie_are_invalid_and_read_nothing(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"")
    assert "is empty" in reason_of(path)
    path.write_bytes(b"1234")
    assert "ends after 4 bytes" in reason_of(path)
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    assert "claims a header of 9223372036854775808 bytes" in reason_of(path)
    with path.open("wb") as file:  # a header of one terabyte that is really there, but for a hole
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)
    start = time.perf_counter()
    assert f"at most {LARGEST_HEADER} are read" in reason_of(path)
    assert time.perf_counter() - start < 1


def test_a_file_that_is_not_there_is_invalid(tmp_path):
    assert "cannot be read" in reason_of(tmp_path / "none")
