"""Reading a leaderboard: with rayxkd, and with everything else that reads Parquet."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayxkd.errors import UserError
from rayxkd.leaderboard import Journal, Leaderboard
from rayxkd.storage import Storage
from tests.leaderboard.builders import ABOUT, HOSTILE_NAMES, METRICS, SCHEMA, assessment


def test_it_knows_what_the_scan_was_about(board, board_folder):
    assert board.url == str(board_folder)
    assert board.cost_unit == "nats"
    assert board.metrics == METRICS
    assert board.about["class_names"] == ABOUT["class_names"]
    assert board.table["teacher"].to_pylist()[:10] == list(HOSTILE_NAMES)


def test_a_directory_without_one_is_told(tmp_path):
    for address in (str(tmp_path), str(tmp_path / "missing"), "memory://no/board"):
        with pytest.raises(UserError, match=r"there is no leaderboard at .* leaderboard\.parquet"):
            Leaderboard.open(address)


@pytest.mark.parametrize("content", [b"", b"not Parquet", b"PAR1 and PAR1"])
def test_a_file_that_is_no_parquet_is_told(content, tmp_path):
    (tmp_path / "leaderboard.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"/leaderboard\.parquet cannot be read: ") as caught:
        Leaderboard.open(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_table_of_somebody_else_is_told(tmp_path):
    pq.write_table(pa.table({"teacher": ["x"], "rank": [1]}), tmp_path / "leaderboard.parquet")
    with pytest.raises(UserError, match=r"/leaderboard\.parquet is no leaderboard of rayxkd"):
        Leaderboard.open(str(tmp_path))


def test_a_table_of_a_newer_version_is_told(tmp_path):
    metadata = {"rayxkd": '{"schema_version": 99}'}
    table = pa.table({"teacher": ["x"]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "leaderboard.parquet")
    with pytest.raises(UserError, match=r"schema version 99, .* upgrade rayxkd"):
        Leaderboard.open(str(tmp_path))


# What each reader calls a few columns of every kind; those of integers have nulls.
COLUMNS = ("rank", "teacher", "transport_cost", "tied", "leep", "parameters", "finished_at")


def test_pandas(board, board_folder):
    import pandas

    frame = pandas.read_parquet(board_folder / "leaderboard.parquet", dtype_backend="pyarrow")
    kinds = [str(frame.dtypes[name]) for name in COLUMNS]
    assert kinds[0] == "int32[pyarrow]"
    assert kinds[2:6] == ["double[pyarrow]", "bool[pyarrow]", "double[pyarrow]", "int64[pyarrow]"]
    assert kinds[6] == "timestamp[us, tz=UTC][pyarrow]"
    assert list(frame["teacher"][:10]) == list(HOSTILE_NAMES)
    assert frame["rank"].isna().sum() == 2
    plain = board.to_pandas()
    assert plain["transport_cost"].dtype == "float64"
    assert str(plain["finished_at"].dtype) == "datetime64[us, UTC]"
    assert list(plain.columns) == SCHEMA.names


def test_polars(board_folder):
    import polars as pl

    frame = pl.read_parquet(board_folder / "leaderboard.parquet")
    kinds = [frame.schema[name] for name in COLUMNS]
    times = pl.Datetime("us", "UTC")
    assert kinds == [pl.Int32, pl.String, pl.Float64, pl.Boolean, pl.Float64, pl.Int64, times]
    best = frame.filter(pl.col("status") == "ok").sort("transport_cost")
    assert best["teacher"].to_list() == list(HOSTILE_NAMES)
    assert frame["rank"].null_count() == 2


def test_duckdb(board_folder):
    import duckdb

    file = str(board_folder / "leaderboard.parquet")
    with duckdb.connect() as connection:
        described = connection.execute("describe select * from read_parquet(?)", [file]).fetchall()
        kinds = {name: kind for name, kind, *_ in described}
        query = "select teacher from read_parquet(?) where status = 'ok' order by rank"
        found = connection.execute(query, [file]).fetchall()
    assert [kinds[name] for name in COLUMNS] == [
        "INTEGER",
        "VARCHAR",
        "DOUBLE",
        "BOOLEAN",
        "DOUBLE",
        "BIGINT",
        "TIMESTAMP WITH TIME ZONE",
    ]
    assert [name for (name,) in found] == list(HOSTILE_NAMES)


def test_pyarrow(board_folder):
    schema = pq.read_schema(board_folder / "leaderboard.parquet")
    assert schema.equals(SCHEMA)
    for field in schema:
        assert field.metadata[b"description"] == SCHEMA.field(field.name).metadata[b"description"]


def test_reading_needs_no_torch():
    code = "import rayxkd.leaderboard, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_program_that_ends_after_reading_ends_in_peace(tmp_path):
    """Arrow's threads used to abort every other program of this kind while it was ending."""
    rows = [assessment(f"teacher {number}", cost=float(number)) for number in range(3_000)]
    Journal(Storage.at(str(tmp_path))).write_table(rows, SCHEMA)
    code = f"from rayxkd.leaderboard import Leaderboard; Leaderboard.open({str(tmp_path)!r})"
    endings = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        for _ in range(8)
    ]
    assert [(ended.returncode, ended.stderr) for ended in endings] == [(0, b"")] * 8
