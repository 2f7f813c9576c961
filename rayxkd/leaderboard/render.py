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
from rayxkd.status import Status

_COST_TITLE = "cost [95 % interval]"
_WORDS = ("teacher", "status")  # columns of words; all others hold numbers
_STATUS_STYLE = {Status.OK: "green", Status.ELIMINATED: "yellow"}


def select(board: Leaderboard, *, top: int | None = None, status: str | None = None) -> Leaderboard:
    """The first rows, and those of one status.

    Raises:
        UserError: there is no such status, or no such number of rows.
    """
    if top is not None and top < 0:
        raise UserError(f"--top {top} is no number of rows: give 0 or more")
    table = board.table
    if status is not None:
        if status not in list(Status):
            raise unknown_name("status", status, map(str, Status))
        table = table.filter(pc.equal(table["status"], status))
    return Leaderboard(board.url, table if top is None else table.slice(0, top), board.about)


def print_table(board: Leaderboard, console: Console) -> None:
    """Print for people: ranks, costs with intervals, ties, and the reasons of failures."""
    rows = board.table.to_pylist()
    about = board.about
    console.print(
        literal(
            f"{about['probe']}: {about['probe_images']} images of {len(about['class_names'])} "
            f"classes, cost '{about['settings']['cost']}' in {board.cost_unit}, lower is better"
        )
    )
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for title in _titles(board.metrics):
        table.add_column(
            title,
            justify="left" if title in _WORDS else "right",
            overflow="fold" if title == "teacher" else "ellipsis",
            no_wrap=title == _COST_TITLE,
        )
    for row in rows:
        *cells, status = _cells(row, board.metrics)
        style = _STATUS_STYLE.get(Status(status), "red")
        table.add_row(*map(literal, cells), literal(status, style))
    console.print(table)
    _print_notes(rows, console)


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


def _titles(metrics: tuple[str, ...]) -> list[str]:
    return ["rank", "teacher", _COST_TITLE, "relative", *metrics, "classes", "size", "status"]


def _cells(row: dict[str, Any], metrics: tuple[str, ...]) -> list[str]:
    """One text for each of :func:`_titles`."""
    rank = "" if row["rank"] is None else f"{row['rank']}{'=' if row['tied'] else ' '}"
    return [
        rank,
        row["teacher"],
        _cost(row),
        _number(row["relative_cost"], ".3f"),
        *(_number(row[metric], ".3f") for metric in metrics),
        _number(row["num_classes"], "d"),
        _size(row["parameters"]),
        row["status"],
    ]


def _cost(row: dict[str, Any]) -> str:
    cost = _number(row["transport_cost"], ".3f")
    low, high = row["transport_cost_low"], row["transport_cost_high"]
    return cost if low is None or high is None else f"{cost} [{low:.3f}, {high:.3f}]"


def _print_notes(rows: list[dict[str, Any]], console: Console) -> None:
    if any(row["tied"] for row in rows):
        console.print("= tied: the interval overlaps the leader's", style="dim", highlight=False)
    for row in rows:
        if row["reason"]:
            note = literal(f"{row['teacher']}: {row['reason']}", style="dim")
            console.print(note, soft_wrap=True)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _size(parameters: int | None) -> str:
    """Number of parameters, to three digits."""
    if parameters is None:
        return ""
    for unit, power in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= power:
            return f"{parameters / power:.3g}{unit}"
    return str(parameters)


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
    titles = _titles(board.metrics)
    rules = ["---" if title in _WORDS else "---:" for title in titles]
    rows = [_cells(row, board.metrics) for row in board.table.to_pylist()]
    lines = [titles, rules, *([_markdown_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    """Text of others neither ends its cell nor its row, and is no HTML."""
    shown = literal(text.strip()).plain.replace("\\", "\\\\")
    return shown.replace("|", "\\|").replace("<", "&lt;")
