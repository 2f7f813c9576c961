"""Choosing and sorting the rows of a leaderboard by any of its columns."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayxkd.errors import UserError, unknown_name
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.layout import layout_of
from rayxkd.leaderboard.schema import Meaning, make_field

_PLACE = "place of the row"
_UNKNOWN_COLUMN = re.compile(r'Referenced (?:column|table) "(.+?)" not found')

# A query sees the columns and nothing else: no files, no extensions, no variables of this program.
_LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 1,
}


def columns_of(board: Leaderboard) -> pa.Table:
    """Everything that rows can be chosen and sorted by.

    The columns of the table, the short names that stand above them when it is printed, and
    ``images_per_second`` and ``seconds_per_image`` of the forward pass.
    """
    table = board.table
    for short, name in layout_of(board).short_names.items():
        if short not in table.column_names:
            field = table.schema.field(name).with_name(short)
            table = table.append_column(field, table[name])
    if "forward_seconds" not in table.column_names:
        return table
    images, seconds = table["images_seen"].cast(pa.float64()), table["forward_seconds"]
    unknown = pa.nulls(1, pa.float64())[0]
    slowness = pc.divide(seconds, images)
    slowness = pc.if_else(pc.is_finite(slowness), slowness, unknown)
    speed = pc.divide(images, seconds)
    speed = pc.if_else(pc.and_(pc.is_finite(speed), pc.is_valid(slowness)), speed, unknown)
    field = make_field("images_per_second", pa.float64(), "1/s", "higher", "of the forward pass")
    table = table.append_column(field, speed)
    field = make_field("seconds_per_image", pa.float64(), "s", "lower", "of the forward pass")
    return table.append_column(field, slowness)


def places_where(columns: pa.Table, expression: str) -> pa.Array:
    """The places of the rows for which an SQL expression is true, in order.

    DuckDB reads the expression. It can read nothing but the columns.

    Args:
        columns: what :func:`columns_of` returns.
        expression: such as ``num_classes < 100 and license = 'apache-2.0'``.

    Raises:
        UserError: DuckDB is not installed, or the expression is no condition on these columns.
    """
    try:
        import duckdb
    except ImportError as error:
        message = "--where needs DuckDB, which is not installed: pip install 'rayxkd[query]'"
        raise UserError(message) from error
    with duckdb.connect(":memory:", config=_LOCKED) as connection:
        connection.execute("SET lock_configuration = true")
        relation = connection.from_arrow(columns.append_column(_PLACE, _places(columns)))
        try:
            chosen = relation.filter(expression).project(f'"{_PLACE}"').to_arrow_table()
        except (duckdb.Error, RuntimeError, UnicodeError) as error:
            raise _not_understood(expression, str(error), columns) from error
    return chosen[_PLACE].combine_chunks()


def places_sorted(columns: pa.Table, by: str, *, descending: bool = False) -> pa.Array:
    """The places of all rows in another order: the better value first.

    Rows without a value come last, and those that are not ok after all that are, unless they are
    sorted by status. Rows that are equal stay in the order of the table.

    Args:
        columns: what :func:`columns_of` returns.
        by: name of a column; with a ``-`` in front the order is turned round.
        descending: the largest first, whichever is better.

    Raises:
        UserError: there is no such column.
    """
    name = by.removeprefix("-")
    if name not in columns.column_names:
        raise unknown_name("column", name, columns.column_names)
    better = Meaning.of(columns.schema.field(name)).better
    falls = descending or ((better == "higher") != by.startswith("-"))
    keys = pa.table(
        {
            "failed": pc.is_null(columns["rank"]),  # who is ok, and nobody else, has one
            "value": columns[name],
            "place": _places(columns),
        }
    )
    order = [("value", "descending" if falls else "ascending"), ("place", "ascending")]
    if name != "status":
        order.insert(0, ("failed", "ascending"))
    return pc.sort_indices(keys, sort_keys=order)


def _places(columns: pa.Table) -> pa.Array:
    """0, 1, 2, ... for all rows; ``pa.array`` would import pandas, which takes half a second."""
    numbers = pa.py_buffer(np.arange(columns.num_rows, dtype=np.int64))
    return pa.Array.from_buffers(pa.int64(), columns.num_rows, [None, numbers])


def _not_understood(expression: str, complaint: str, columns: pa.Table) -> UserError:
    unknown = _UNKNOWN_COLUMN.search(complaint)
    if unknown:
        return unknown_name("column", unknown[1], columns.column_names)
    first = complaint.strip().splitlines()[0] if complaint.strip() else "no reason was given"
    return UserError(
        f"--where {expression!r} is no condition on the columns ({first}): "
        "write such as \"num_classes < 100 and license = 'apache-2.0'\""
    )
