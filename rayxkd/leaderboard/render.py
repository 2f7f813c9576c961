"""A leaderboard as text: a table for people, CSV, JSON and Markdown for everything else."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.csv
from rich.console import Console

from rayxkd.console import plain
from rayxkd.errors import UserError, unknown_name
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.layout import layout_of, statuses_of
from rayxkd.leaderboard.query import columns_of, places_sorted, places_where
from rayxkd.leaderboard.values import is_text, json_lines
from rayxkd.leaderboard.view import view_of

_ROWS_OF_A_SCREEN = 500


def select(
    board: Leaderboard,
    *,
    top: int | None = None,
    status: str | None = None,
    where: str | None = None,
    sort: str | None = None,
    descending: bool = False,
) -> Leaderboard:
    """The rows of one status for which a condition holds, in another order, and the first of them.

    Args:
        board: all rows.
        top: only so many.
        status: only those that ended so.
        where: only those for which this SQL expression is true; see
            :func:`~rayxkd.leaderboard.query.places_where`.
        sort: column by which they are sorted, with a ``-`` in front for the other way round; see
            :func:`~rayxkd.leaderboard.query.places_sorted`.
        descending: the largest first, whichever is better; only with ``sort``.

    Raises:
        UserError: there is no such status or column, no such number of rows, or the expression is
            no condition.
    """
    _check_top(top)
    if descending and sort is None:
        raise UserError("--descending needs a column: give --sort COLUMN too")
    if status is not None:
        known = statuses_of(board)
        if status not in known:
            raise unknown_name("status", status, known)
        board = _with(board, board.table.filter(is_text(board.table["status"], status)))
    if where is not None:
        board = _with(board, board.table.take(places_where(columns_of(board), where)))
    if sort is not None:
        places = places_sorted(columns_of(board), sort, descending=descending)
        board = _with(board, board.table.take(places))
    return _with(board, board.table if top is None else board.table.slice(0, top))


def print_table(board: Leaderboard, console: Console, *, top: int | None = None) -> None:
    """Print for people: ranks, values with intervals, and the reasons of failures.

    Args:
        board: its rows, in the order in which they are shown.
        console: where to; what has no room on it is left out, and that is said.
        top: how many rows are shown, 500 if it is not said: nobody reads more, and a screen line
            takes a millisecond. What is Pareto-optimal is so among all of them.

    Raises:
        UserError: there is no such number of rows.
    """
    _check_top(top)
    top = _ROWS_OF_A_SCREEN if top is None else top
    ascii_only = console.options.ascii_only
    console.print(view_of(board, console.width, ascii_only=ascii_only, top=top), crop=False)


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


def _check_top(top: int | None) -> None:
    if top is not None and top < 0:
        raise UserError(f"--top {top} is no number of rows: give 0 or more")


def _with(board: Leaderboard, table: pa.Table) -> Leaderboard:
    return Leaderboard(board.url, table, board.about)


def _csv(board: Leaderboard) -> str:
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(board.table, buffer)
    return buffer.getvalue().decode()


def _json(board: Leaderboard) -> str:
    """A list with one line a row."""
    return "[\n" + ",\n".join(json_lines(board.table)) + "\n]\n"


def _markdown(board: Leaderboard) -> str:
    """A GitHub table."""
    layout = layout_of(board)
    needed = {name for column in layout.columns for name in column.needs}
    rows = board.table.select(sorted(needed)).to_pylist()
    rules = ["---" if title in layout.words else "---:" for title in layout.titles]
    cells = [
        [_markdown_cell(column.cell(row)) for row in rows]
        if column.words
        else [column.cell(row).strip() for row in rows]
        for column in layout.columns
    ]
    return "".join(map(_markdown_line, [layout.titles, rules, *zip(*cells, strict=True)]))


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _markdown_cell(text: str) -> str:
    """Text of others neither ends its cell nor its row, and is no HTML."""
    shown = plain(text.strip()).replace("\\", "\\\\")
    return shown.replace("|", "\\|").replace("<", "&lt;")
