"""Vectors of class names from files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayxkd.data import read_class_vectors
from rayxkd.errors import UserError

NAMES = ["crane", "ünï 🦜", "crane, bird"]
ROWS = [[1.0, 0.5], [-2.0, 0.0], [0.25, 1e-3]]


def parquet(path: Path, names=None, vectors=None, **columns) -> str:
    """A file of these columns; the others are as they should be."""
    table = {"name": NAMES if names is None else names}
    table["vector"] = ROWS if vectors is None else vectors
    pq.write_table(pa.table(table | columns), path)
    return str(path)


def npz(path: Path, **arrays) -> str:
    """Likewise for arrays; ``None`` leaves one out."""
    known = {"names": np.array(NAMES), "vectors": np.array(ROWS)} | arrays
    np.savez(path, **{name: array for name, array in known.items() if array is not None})
    return str(path)


def check(address: str, dtype: str) -> None:
    found = read_class_vectors(address)
    assert list(found) == NAMES
    assert {vector.dtype for vector in found.values()} == {np.dtype(dtype)}
    expected = np.array(ROWS, dtype=np.float16 if "half" in address else dtype).astype(dtype)
    np.testing.assert_array_equal(np.stack(list(found.values())), expected)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (pa.list_(pa.float64()), "float64"),
        (pa.list_(pa.float32()), "float32"),
        (pa.large_list(pa.float32()), "float32"),
        (pa.list_(pa.float32(), 2), "float32"),
    ],
)
def test_parquet_with_lists_of_any_kind(kind, dtype, tmp_path):
    check(parquet(tmp_path / "a.parquet", vectors=pa.array(ROWS, kind)), dtype)


def test_short_floats_and_integers_become_such_that_torch_computes_with(tmp_path):
    half = pa.array([np.array(row, np.float16) for row in ROWS], pa.list_(pa.float16()))
    check(parquet(tmp_path / "half.parquet", vectors=half), "float32")
    check(npz(tmp_path / "half.npz", vectors=np.array(ROWS, np.float16)), "float32")
    found = read_class_vectors(parquet(tmp_path / "int.parquet", vectors=[[1, 0], [0, 1], [1, 1]]))
    assert found["crane, bird"].tolist() == [1.0, 1.0]
    assert found["crane"].dtype == np.float64


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_with_names_of_any_kind(kind, tmp_path):
    names = pa.array(NAMES).cast(kind) if pa.types.is_large_string(kind) else None
    names = pa.array(NAMES).dictionary_encode() if names is None else names
    check(parquet(tmp_path / "a.parquet", names=names), "float64")


def test_parquet_as_other_libraries_write_it(tmp_path):
    frame = {"vector": ROWS, "more": [1, 2, 3], "name": NAMES}
    pd.DataFrame(frame).to_parquet(tmp_path / "pandas.parquet")
    pl.DataFrame(frame).write_parquet(tmp_path / "polars.parquet")
    check(str(tmp_path / "pandas.parquet"), "float64")
    check(str(tmp_path / "polars.parquet"), "float64")


def test_row_groups_follow_one_another(tmp_path):
    table = pa.table({"name": NAMES, "vector": ROWS})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    check(str(tmp_path / "a.parquet"), "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_npz(dtype, tmp_path):
    check(npz(tmp_path / "a.npz", vectors=np.array(ROWS, dtype)), dtype)


def test_the_content_says_what_a_file_is(tmp_path):
    for write, name in ((parquet, "vectors.npz"), (npz, "vectors.parquet.npz")):
        file = Path(write(tmp_path / name))
        check(str(file.rename(tmp_path / "vectors")), "float64")


def test_a_name_may_stand_there_twice_with_one_vector(tmp_path):
    names, rows = [*NAMES, "crane"], [*ROWS, ROWS[0]]
    check(parquet(tmp_path / "a.parquet", names=names, vectors=rows), "float64")


def test_vectors_from_a_bucket(bucket, tmp_path):
    import boto3

    content = Path(parquet(tmp_path / "a.parquet")).read_bytes()
    name = bucket.removeprefix("s3://")
    boto3.client("s3").put_object(Bucket=name, Key="deep/vectors.parquet", Body=content)
    check(f"{bucket}/deep/vectors.parquet", "float64")
    with pytest.raises(UserError, match=r"there is nothing at s3://.*/deep/other\.parquet"):
        read_class_vectors(f"{bucket}/deep/other.parquet")


def refused(address: str | Path) -> str:
    """The one line for a file that is refused."""
    with pytest.raises(UserError) as caught:
        read_class_vectors(str(address))
    assert str(address) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_there_or_no_file_is_refused(tmp_path):
    assert "there is nothing at" in refused(tmp_path / "a.parquet")
    assert "is a folder: give one file of class vectors" in refused(tmp_path)
    for content in (b"", b"name,vector\ncrane,1", b"\x93NUMPY"):
        (tmp_path / "a.csv").write_bytes(content)
        assert "holds no class vectors: give Parquet" in refused(tmp_path / "a.csv")
    with pytest.raises(UserError, match="did you mean 's3'"):
        read_class_vectors("s4://bucket/vectors.npz")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": NAMES, "vector": ROWS}, "no column 'name' (it has 'label', 'vector'): give"),
        ({"name": NAMES, "embedding": ROWS}, "no column 'vector' (it has 'name', 'embedding')"),
        ({"name": [1, 2, 3], "vector": ROWS}, "column 'name' must hold strings, not int64"),
        ({"name": NAMES, "vector": [1.0, 2.0, 3.0]}, "must hold lists of floats, not double"),
        ({"name": NAMES, "vector": [["a"], ["b"], ["c"]]}, "lists of floats, not list<"),
        ({"name": [*NAMES[:2], None], "vector": ROWS}, "1 rows have no name or no vector: leave"),
        ({"name": NAMES, "vector": [ROWS[0], None, None]}, "2 rows have no name or no vector"),
        (
            {"name": NAMES, "vector": [*ROWS[:2], [1.0, 2.0, 3.0]]},
            "that of 'crane' has 2 entries and that of 'crane, bird' 3: take all from one encoder",
        ),
        (
            {"name": NAMES, "vector": [ROWS[0], [1.0, None], [float("inf"), 0.0]]},
            "2 of 3 vectors have entries that are missing, NaN or infinite (first: 'ünï 🦜')",
        ),
        (
            {"name": NAMES, "vector": [[1, 2], [1, None], [1, 2]]},
            "1 of 3 vectors have entries that are missing",
        ),
        (
            {"name": ["a", "b", "a"], "vector": ROWS},
            "two different vectors for 'a': keep one of them",
        ),
        ({"name": ["a"], "vector": pa.array([[]], pa.list_(pa.float32()))}, "holds no vectors"),
        (
            {
                "name": pa.array([], pa.string()),
                "vector": pa.array([], pa.list_(pa.float32())),
            },
            "holds no vectors: write one for every class name",
        ),
    ],
)
def test_parquet_that_holds_something_else_is_refused(columns, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert message in refused(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"names": None}, "no array 'names' (it has 'vectors'): give"),
        ({"vectors": None}, "no array 'vectors' (it has 'names')"),
        ({"names": np.array([NAMES])}, "must hold strings in one dimension, not <U11 of shape (1"),
        ({"names": np.arange(3)}, "must hold strings in one dimension, not int64"),
        ({"names": np.array(NAMES, object)}, "Python objects are not read"),
        ({"vectors": np.array([[1.0], [1.0, 2.0], []], object)}, "Python objects are not read"),
        ({"vectors": np.ones(3)}, "floats in two dimensions, not float64 of shape (3,)"),
        ({"vectors": np.ones((3, 2), complex)}, "floats in two dimensions, not complex128"),
        ({"vectors": np.ones((2, 2))}, "3 names for 2 vectors: write one row"),
        ({"vectors": np.array([[1.0], [np.nan], [0.0]])}, "1 of 3 vectors have entries"),
        ({"vectors": np.full((3, 2), np.longdouble("1e400"))}, "3 of 3 vectors have entries"),
        ({"names": np.array(["a", "b", "b"])}, "two different vectors for 'b'"),
        ({"vectors": np.ones((3, 0))}, "holds no vectors"),
    ],
)
def test_npz_that_holds_something_else_is_refused(arrays, message, tmp_path):
    assert message in refused(npz(tmp_path / "a.npz", **arrays))


def test_a_pickle_in_an_npz_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    address = npz(tmp_path / "a.npz", names=np.array([Bomb(), Bomb(), Bomb()], object))
    assert "cannot be read as .npz" in refused(address)
    assert not (tmp_path / "exploded").exists()
    np.load(address, allow_pickle=True)["names"]
    assert (tmp_path / "exploded").exists(), "the file does what it should not be able to do"


@pytest.mark.parametrize("kept", [4, 100, -20])
def test_what_is_no_whole_file_is_refused(kept, tmp_path):
    for write, name in ((parquet, "a.parquet"), (npz, "a.npz")):
        content = Path(write(tmp_path / name)).read_bytes()
        (tmp_path / name).write_bytes(content[:kept])
        assert f"cannot be read as {'.npz' if name == 'a.npz' else 'Parquet'}" in refused(
            tmp_path / name
        )


def test_a_damaged_byte_in_an_npz_is_told(tmp_path):
    content = bytearray(Path(npz(tmp_path / "a.npz")).read_bytes())
    content[content.index(b"NUMPY") + 140] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "cannot be read as .npz" in refused(tmp_path / "a.npz")


def test_a_zip_of_other_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("names", "crane")
        file.writestr("vectors", io.BytesIO(b"1").getvalue())
    assert "array 'names' must hold strings" in refused(tmp_path / "a.zip")


def test_names_that_are_no_text_are_refused(tmp_path):
    """Parquet that claims UTF-8 and holds other bytes."""
    names = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    assert "cannot be read as Parquet" in refused(parquet(tmp_path / "a.parquet", names=names))
