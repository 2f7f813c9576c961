"""A leaderboard as text: a table for people, CSV, JSON and Markdown for everything else."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc
import pyarrow.csv
from rich.console import Console
from rich.table import Table

from rayxkd.console import literal
from rayxkd.errors import UserError, unknown_name
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.layout import layout_of, statuses_of


def select(board: Leaderboard, *, top: int | None = None, status: str | None = None) -> Leaderboard:
    """The first rows, and those of one status.

    Raises:
        UserError: there is no such status, or no such number of rows.
    """
    if top is not None and top < 0:
        raise UserError(f"--top {top} is no number of rows: give 0 or more")
    table = board.table
    if status is not None:
        known = statuses_of(board)
        if status not in known:
            raise unknown_name("status", status, known)
        table = table.filter(pc.equal(table["status"], status))
    return Leaderboard(board.url, table if top is None else table.slice(0, top), board.about)


def print_table(board: Leaderboard, console: Console) -> None:
    """Print for people: ranks, values with intervals, and the reasons of failures."""
    rows, layout = board.table.to_pylist(), layout_of(board)
    console.print(literal(layout.heading()))
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for title in layout.titles:
        table.add_column(
            title,
            justify="left" if title in layout.words else "right",
            overflow="fold" if title == layout.name else "ellipsis",
            no_wrap=title == layout.whole,
        )
    for row in rows:
        *cells, status = layout.cells(row)
        style = layout.styles.get(status, "red")
        table.add_row(*map(literal, cells), literal(status, style))
    console.print(table)
    for note in layout.notes(rows):
        console.print(note, style="dim", highlight=False, markup=False)
    for row in rows:
        if row["reason"]:
            console.print(literal(layout.reason(row), style="dim"), soft_wrap=True)


def render(board: Leaderboard, style: str) -> str:
    """Every column as ``csv`` or ``json``, or what :func:`print_table` shows as ``markdown``.

    Raises:
        UserError: another style.
    """
    styles: dict[str, Callable[[Leaderboard], str]] = {
        "csv": _csv,
        "json": _json,
        "markdown": _markdown,
    }
    if style not in styles:
        raise unknown_name("format", style, [*styles, "table"])
    return styles[style](board)


def _csv(board: Leaderboard) -> str:
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(board.table, buffer)
    return buffer.getvalue().decode()


def _json(board: Leaderboard) -> str:
    rows = [
        {name: _json_value(value) for name, value in row.items()} for row in board.table.to_pylist()
    ]
    return json.dumps(rows, indent=1, default=str, allow_nan=False) + "\n"


def _json_value(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _markdown(board: Leaderboard) -> str:
    """A GitHub table."""
    layout = layout_of(board)
    rules = ["---" if title in layout.words else "---:" for title in layout.titles]
    rows = [layout.cells(row) for row in board.table.to_pylist()]
    lines = [layout.titles, rules, *([_markdown_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    """Text of others neither ends its cell nor its row, and is no HTML."""
    shown = literal(text.strip()).plain.replace("\\", "\\\\")
    return shown.replace("|", "\\|").replace("<", "&lt;")
