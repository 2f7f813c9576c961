"""Vectors of class names, from a file of the user's.

Legend: C names, D dimensions.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayxkd.errors import UserError
from rayxkd.storage import Storage

Vectors = NDArray[np.floating[Any]]
ClassVectors = dict[str, Vectors]

# How files of the two kinds begin, whatever they are called.
_PARQUET, _ZIP = b"PAR1", b"PK"
_PARQUET_COLUMNS = ("name", "vector")
_NPZ_ARRAYS = ("names", "vectors")
_KINDS = (
    "Parquet with the columns 'name' (string) and 'vector' (list of floats), "
    "or .npz with the arrays 'names' and 'vectors'"
)


def read_class_vectors(address: str) -> ClassVectors:
    """The vector of every name in a file.

    Args:
        address: path or fsspec URL of one file: Parquet with the columns ``name`` (string) and
            ``vector`` (list of numbers), or ``.npz`` with the arrays ``names`` (strings, [C]) and
            ``vectors`` (numbers, [C, D]). A name may stand there twice with the same vector.

    Returns:
        Names in the file's order, each with its row [D] of one matrix: float64 where the file's
        numbers are float64 or integers, else float32; finite.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    content = _read(address)
    if content.startswith(_PARQUET):
        names, vectors_CD = _from_parquet(address, content)
    elif content.startswith(_ZIP):
        names, vectors_CD = _from_npz(address, content)
    else:
        raise UserError(f"{address} holds no class vectors: give {_KINDS}")
    if vectors_CD.size == 0:
        raise UserError(f"{address} holds no vectors: write one for every class name")
    bad_C = ~np.isfinite(vectors_CD).all(axis=1)
    if bad_C.any():
        raise UserError(
            f"{address}: {bad_C.sum()} of {len(names)} vectors have entries that are missing, NaN "
            f"or infinite (first: {names[int(bad_C.argmax())]!r}): mend or leave them out"
        )
    return _by_name(address, names, vectors_CD)


def _read(address: str) -> bytes:
    storage = Storage.at(address)
    try:
        if not storage.exists():
            raise UserError(f"there is nothing at {address}: check the address of --class-vectors")
        if not storage.is_file():
            raise UserError(f"{address} is a folder: give one file of class vectors, {_KINDS}")
        return storage.read()
    except OSError as error:
        raise UserError(f"{address} cannot be read: {error}") from error


def _from_parquet(address: str, content: bytes) -> tuple[list[str], Vectors]:
    try:
        # Not with Arrow's threads, nor ahead: see `rayxkd.leaderboard.journal.table_from`.
        file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
        schema = file.schema_arrow
        _check_present(address, "column", _PARQUET_COLUMNS, schema.names)
        _check_types(address, schema.field("name").type, schema.field("vector").type)
        table = file.read(list(_PARQUET_COLUMNS), use_threads=False)
        names = table["name"].to_pylist()
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise UserError(f"{address} cannot be read as Parquet: {error}") from error
    vectors = table["vector"]
    for column in (table["name"], vectors):
        if column.null_count:
            raise UserError(
                f"{address}: {column.null_count} rows have no name or no vector: leave them out"
            )
    lengths_C = pc.list_value_length(vectors).to_numpy()
    other_C = lengths_C != lengths_C[:1]
    if other_C.any():
        place = int(other_C.argmax())
        raise UserError(
            f"{address}: vectors must have one length, but that of {names[0]!r} has "
            f"{lengths_C[0]} entries and that of {names[place]!r} {lengths_C[place]}: "
            "take all from one encoder"
        )
    values = pc.list_flatten(vectors).to_numpy()  # missing entries become NaN
    return names, _floats(values).reshape(len(names), -1 if len(values) else 0)


def _from_npz(address: str, content: bytes) -> tuple[list[str], Vectors]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            _check_present(address, "array", _NPZ_ARRAYS, file.files)
            names_C, vectors_CD = (np.asarray(file[name]) for name in _NPZ_ARRAYS)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{address} cannot be read as .npz: {error} (names must be an array of str, vectors "
            "one array of floats; Python objects are not read)"
        ) from error
    if names_C.ndim != 1 or names_C.dtype.kind != "U":
        raise UserError(
            f"{address}: array 'names' must hold strings in one dimension, not {names_C.dtype} "
            f"of shape {names_C.shape}"
        )
    if vectors_CD.dtype.kind not in "fiu" or vectors_CD.ndim != 2:
        raise UserError(
            f"{address}: array 'vectors' must hold floats in two dimensions, not "
            f"{vectors_CD.dtype} of shape {vectors_CD.shape}"
        )
    if len(names_C) != len(vectors_CD):
        raise UserError(
            f"{address}: {len(names_C)} names for {len(vectors_CD)} vectors: write one row of "
            "'vectors' for each of 'names', in the same order"
        )
    return names_C.tolist(), _floats(vectors_CD)


def _check_present(address: str, kind: str, wanted: Sequence[str], present: Sequence[str]) -> None:
    for name in wanted:
        if name not in present:
            known = ", ".join(f"'{other}'" for other in present) or "none"
            raise UserError(f"{address} has no {kind} '{name}' (it has {known}): give {_KINDS}")


def _check_types(address: str, name: pa.DataType, vector: pa.DataType) -> None:
    types = pa.types
    text = name.value_type if types.is_dictionary(name) else name
    if not (types.is_string(text) or types.is_large_string(text)):
        raise UserError(f"{address}: column 'name' must hold strings, not {name}")
    is_list = (
        types.is_list(vector) or types.is_large_list(vector) or types.is_fixed_size_list(vector)
    )
    if not is_list or not (
        types.is_floating(vector.value_type) or types.is_integer(vector.value_type)
    ):
        raise UserError(f"{address}: column 'vector' must hold lists of floats, not {vector}")


def _floats(values: NDArray[np.generic]) -> Vectors:
    """Numbers as float32 or float64, without loss but that of longer floats."""
    if values.dtype in (np.float16, np.float32):
        return values.astype(np.float32)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which is told
        return values.astype(np.float64)


def _by_name(address: str, names: Sequence[str], vectors_CD: Vectors) -> ClassVectors:
    found: ClassVectors = {}
    for name, vector_D in zip(names, vectors_CD, strict=True):
        if not np.array_equal(found.setdefault(name, vector_D), vector_D):
            raise UserError(f"{address} has two different vectors for {name!r}: keep one of them")
    return found
