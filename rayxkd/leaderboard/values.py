"""Values of a leaderboard as other formats write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from rayxkd.errors import UserError
from rayxkd.leaderboard.assessment import Assessment
from rayxkd.leaderboard.board import Leaderboard

# Python objects of so many rows lie in a processor's cache: four times as fast as all at once.
_ROWS_AT_A_TIME = 1_024


def json_value(value: Any) -> Any:
    """JSON has no NaN, no infinity and no time; a time is written as ``str`` writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, datetime) else value


def json_lines(table: pa.Table) -> Iterator[str]:
    """Every row as a JSON object on one line."""
    names = table.column_names  # made anew whenever it is asked for
    for batch in table.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        columns = [_json_column(column) for column in batch.columns]
        for values in zip(*columns, strict=True):
            yield orjson.dumps(dict(zip(names, values, strict=True))).decode()


def _json_column(column: pa.Array) -> list[Any]:
    """The same as :func:`json_value`, for a whole column at once; orjson knows what is finite."""
    if pa.types.is_timestamp(column.type):  # Arrow writes them far faster than Python does
        column = pc.replace_substring_regex(column.cast(pa.string()), r"(\.000000)?Z$", "+00:00")
    values: list[Any] = column.to_pylist()
    return values


def is_text(column: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    """Where a column of text holds exactly this one.

    By an expression, for Arrow imports pandas whenever it is given an object of Python: a second.
    """
    return pc.match_substring_regex(column, rf"\A{re.escape(text)}\z")


def number(value: float | None, form: str = ".3f") -> str:
    """A number, or nothing where there is none."""
    return "" if value is None else format(value, form)


def interval(low: float | None, high: float | None) -> str:
    """An interval, or nothing where there is none."""
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def assessments_of(board: Leaderboard) -> list[Assessment]:
    """The rows of a leaderboard as what they were made of.

    Raises:
        UserError: one of them is damaged.
    """
    rows = []
    for place, row in enumerate(board.table.to_pylist(), start=1):
        try:
            assessment = Assessment.from_row(row, board.metrics)
        except (TypeError, ValueError, KeyError) as error:
            raise _damaged(board, place, str(error)) from error
        if row["finished_at"] is None or (assessment.is_ok and row["transport_cost"] is None):
            raise _damaged(board, place, "finished_at or transport_cost is empty")
        rows.append(assessment)
    return rows


def _damaged(board: Leaderboard, place: int, why: str) -> UserError:
    return UserError(f"row {place} of {board.url} is damaged: {why}; verify tells more")
