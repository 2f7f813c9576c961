"""A leaderboard in a notebook: its first rows as HTML, and the best of them as a figure."""

from __future__ import annotations

import io
from html import escape
from typing import Any

from matplotlib.figure import Figure

from rayxkd.console import plain
from rayxkd.errors import UserError
from rayxkd.leaderboard.board import TEACHERS_KIND, Leaderboard
from rayxkd.leaderboard.schema import Meaning
from rayxkd.leaderboard.values import interval, number

_ROWS_SHOWN = 10
_ROWS_DRAWN = 30
_NAME_DRAWN = 50

Row = dict[str, Any]


class _Shown(Figure):
    """A figure that a notebook shows without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def html_of(board: Leaderboard) -> str:
    """The first rows as an HTML table, and how many more there are; all text is escaped."""
    count = board.table.num_rows
    rows = board.table.slice(0, _ROWS_SHOWN).to_pylist()
    name, value = _columns(board)
    titles = ["rank", name, value.replace("_", " "), "95 % interval", "status"]
    head = "".join(f"<th>{_html(title)}</th>" for title in titles)
    body = "\n".join(_html_row(row, name, value) for row in rows)
    more = f"<p>and {count - len(rows)} more rows</p>" if count > len(rows) else ""
    return (
        f"<div><p>{_html(board.url)}: {count} rows</p>\n<table>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>{more}</div>"
    )


def figure_of(board: Leaderboard) -> Figure:
    """Values with intervals of the best 30, the best on top; those tied with it are shaded.

    Raises:
        UserError: no row has a rank.
    """
    name, value = _columns(board)
    every = board.table.slice(0, _ROWS_DRAWN).to_pylist() if board.table.num_rows else []
    rows = [row for row in every if row["rank"] is not None]
    if not rows:
        raise UserError(f"there is nothing to plot on {board.url}: no row is ok")
    figure = _Shown(figsize=(7, 1.2 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        if row.get("tied"):
            axes.axhspan(place - 0.5, place + 0.5, color="0.9", zorder=0)
    axes.errorbar(
        [row[value] for row in rows],
        range(len(rows)),
        xerr=list(zip(*(_reach(row, value) for row in rows), strict=True)),
        fmt="o",
        capsize=2,
    )
    names = [f"{row['rank']}  {_short(plain(str(row[name])))}" for row in rows]
    # A dollar in a name would begin a formula.
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(_label(board, value, rows))
    axes.grid(axis="x", alpha=0.3)
    return figure


def _columns(board: Leaderboard) -> tuple[str, str]:
    """The columns of the name and of what the rank goes by."""
    if board.kind == TEACHERS_KIND:
        return "teacher", "transport_cost"
    return "trial", "accuracy"


def _html_row(row: Row, name: str, value: str) -> str:
    rank = "" if row["rank"] is None else f"{row['rank']}{'=' if row.get('tied') else ''}"
    between = interval(row[f"{value}_low"], row[f"{value}_high"])
    cells = [rank, str(row[name]), number(row[value]), between, row["status"]]
    return f"<tr>{''.join(f'<td>{_html(cell)}</td>' for cell in cells)}</tr>"


def _html(text: str) -> str:
    """Text of others; notebooks also look for formulas between dollars."""
    return escape(plain(text)).replace("$", "&#36;<wbr>")


def _reach(row: Row, value: str) -> tuple[float, float]:
    """How far the interval reaches below and above the value."""
    low, high = row[f"{value}_low"], row[f"{value}_high"]
    if low is None or high is None:
        return 0.0, 0.0
    return max(0.0, row[value] - low), max(0.0, high - row[value])


def _short(name: str) -> str:
    """The end of a long name tells more than its beginning."""
    return name if len(name) <= _NAME_DRAWN else f"...{name[3 - _NAME_DRAWN :]}"


def _label(board: Leaderboard, value: str, rows: list[Row]) -> str:
    meaning = Meaning.of(board.table.schema.field(value))
    label = value.replace("_", " ") + (f" ({meaning.unit})" if meaning.unit else "")
    label += f", {meaning.better} is better" if meaning.better else ""
    return label + ("; shaded: tied with the first" if any(row.get("tied") for row in rows) else "")
