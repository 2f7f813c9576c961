"""One leaderboard on one screen: what has room, and the lines below that explain it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rayxkd.console import literal
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.chart import Axis, bracket
from rayxkd.leaderboard.layout import Column, Layout, Row, layout_of
from rayxkd.leaderboard.pareto import pareto_front
from rayxkd.leaderboard.query import columns_of

_BARS_AT_LEAST, _BARS_AT_MOST = 20, 60  # characters; shorter ones tell nothing
_NAME_AT_LEAST = 28  # longer names are broken over lines before columns are left out
_REASONS, _NAMES = 10, 3


def view_of(
    board: Leaderboard, width: int, *, ascii_only: bool = False, top: int | None = None
) -> Group:
    """A leaderboard for people, to be printed by rich without cropping.

    Args:
        board: its rows, in the order in which they are shown.
        width: of the screen, in characters.
        ascii_only: use no other characters.
        top: how many rows are shown; what is Pareto-optimal is so among all of them.
    """
    layout = layout_of(board)
    shown = board.table.slice(0, top).select(_needed(board.table, layout))
    rows: list[Row] = shown.to_pylist()
    marks = _marks(board, layout, len(rows))
    fitted = _Fitted(layout, rows, width, ascii_only, marks)
    lines = [*fitted.notes(), *_counts(board, layout, rows)]
    return Group(
        literal(layout.heading()),
        fitted.table(),
        *(Text(line, style="dim", overflow="fold") for line in lines),
        *(
            # A terminal breaks these lines by itself, and whoever copies them gets them whole.
            Text(line.plain, style="dim", no_wrap=True, overflow="ignore")
            for line in _reasons(layout, rows)
        ),
    )


def _needed(table: pa.Table, layout: Layout) -> list[str]:
    """Names of the columns that are shown in one way or another."""
    needed = {"reason", "tied", "default", *layout.interval}
    needed.update(name for column in layout.columns for name in column.needs)
    return [name for name in table.column_names if name in needed]


class _Fitted:
    """The columns for which there is room, and the signs within them."""

    def __init__(
        self,
        layout: Layout,
        rows: Sequence[Row],
        width: int,
        ascii_only: bool,
        marks: dict[str, list[bool]],
    ) -> None:
        self._layout, self._rows, self._ascii_only = layout, rows, ascii_only
        self._marks = {title: shown for title, shown in marks.items() if any(shown)}
        self._sign = "*" if ascii_only else "◆"
        tied = [bool(row.get("tied")) for row in rows]
        self._tie, self._gap = ("┤", " ") if sum(tied) > 1 and not ascii_only else ("=", "")
        self._is_tied, self._brackets = any(tied), bracket(tied, ascii_only)
        self._cells = {column.title: self._texts(column) for column in layout.columns}
        present = [column for column in layout.columns if self._is_present(column)]
        self._widths = {column.title: self._width(column) for column in present}
        has_bars = any(row[layout.interval[0]] is not None for row in rows)
        self._needed = sum(self._widths.values()) + len(present) - 1
        self._needed += (_BARS_AT_LEAST + 1) * has_bars
        self._columns = _with_room(present, self._widths, layout.name, width)
        self._left_out = [one.title for one in present if one not in self._columns]
        self._bars = min(max(width - self._needed + _BARS_AT_LEAST, 0), _BARS_AT_MOST) * has_bars
        if self._bars < _BARS_AT_LEAST and has_bars:
            self._bars, self._left_out = 0, [layout.interval[3], *self._left_out]

    def table(self) -> Table:
        """The rows."""
        table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
        columns = [self._cells[column.title] for column in self._columns]
        for column in self._columns:
            self._add(table, column)
            if self._bars and column.title == self._value_title:
                columns.insert(len(table.columns), self._pictures(table))
        for cells in zip(*columns, strict=True):
            table.add_row(*cells)
        return table

    def notes(self) -> list[str]:
        """What the signs mean, and what was left out."""
        notes = self._layout.notes(self._rows, self._tie)
        kept = {column.title for column in self._columns}
        fronts = [
            f"as {self._layout.trade_offs[title][2]} ({title})"
            for title in self._marks
            if title in kept
        ]
        if fronts:
            meaning = f"every other {self._layout.noun} {' or '.join(fronts)} costs more"
            notes.append(f"{self._sign} Pareto-optimal: {meaning}")
        if self._left_out:
            names = ", ".join(self._left_out)
            notes.append(f"left out for want of room: {names}; COLUMNS={self._needed} shows all")
        return notes

    @property
    def _value_title(self) -> str:
        return next(
            one.title for one in self._layout.columns if one.needs == self._layout.interval[:3]
        )

    def _texts(self, column: Column) -> list[Text]:
        shown = [column.cell(row) for row in self._rows]
        if column.title == "rank" and "tied" in column.needs:
            shown = [
                (f"{cell[:-1]}{self._gap}{sign}" if cell else sign)
                if self._is_tied
                else cell.strip()
                for cell, sign in zip(shown, self._brackets, strict=True)
            ]
        if column.title in self._marks:
            signs = (self._sign if mark else " " for mark in self._marks[column.title])
            shown = [f"{cell} {sign}" for cell, sign in zip(shown, signs, strict=True)]
        if column.title == "status":
            styles = self._layout.styles
            return [literal(cell, styles.get(cell, "red")) for cell in shown]
        if not column.words:  # by hand: rich would take the blanks for the signs away first
            room = max(map(len, [column.title, *shown]))
            shown = [cell.rjust(room) for cell in shown]
        return [literal(_ascii(cell) if self._ascii_only else cell) for cell in shown]

    def _is_present(self, column: Column) -> bool:
        """A column without any value says nothing, but every row has a name and a status."""
        named = column.title in (self._layout.name, "status")
        return named or any(cell.plain.strip() for cell in self._cells[column.title])

    def _width(self, column: Column) -> int:
        cells = self._cells[column.title]
        return max(Text(column.title).cell_len, *(cell.cell_len for cell in cells), 0)

    def _add(self, table: Table, column: Column) -> None:
        is_name = column.title == self._layout.name
        room = 0 if column.words else self._widths[column.title]
        table.add_column(
            column.title.rjust(room),
            overflow="fold" if is_name or self._ascii_only else "ellipsis",
            no_wrap=not is_name,
        )

    def _pictures(self, table: Table) -> list[Text]:
        value, low, high, _ = self._layout.interval
        intervals = [(row[value], row[low], row[high]) for row in self._rows]
        axis = Axis.over(intervals, self._bars, self._ascii_only)
        table.add_column(Text(axis.title, style="dim"), no_wrap=True, width=self._bars)
        return [Text(axis.draw(interval), style="cyan") for interval in intervals]


def _with_room(
    columns: Sequence[Column], widths: dict[str, int], name: str, width: int
) -> list[Column]:
    """Leave columns out until the others fit: those that give way first, from the right."""
    kept = list(columns)

    def room_of(column: Column) -> int:
        natural = widths[column.title]
        return min(natural, _NAME_AT_LEAST) if column.title == name else natural

    while sum(map(room_of, kept)) + len(kept) - 1 > width:
        place, column = max(enumerate(kept), key=lambda entry: (entry[1].gives_way, entry[0]))
        if not column.gives_way:
            break
        del kept[place]
    return kept


def _marks(board: Leaderboard, layout: Layout, shown: int) -> dict[str, list[bool]]:
    """Which of the first rows are Pareto-optimal among all that are ok, by title of a column."""
    if not layout.trade_offs:
        return {}
    columns = columns_of(board)
    good = np.array(columns["status"].to_pylist(), dtype=object) == "ok"
    return {
        title: _front(columns, good, one, other)[:shown]
        for title, (one, other, _) in layout.trade_offs.items()
    }


def _front(columns: pa.Table, good: npt.NDArray[np.bool_], one: str, other: str) -> list[bool]:
    """The front of two columns; nobody is marked where all are the same in the second."""
    first, second = (np.array(columns[name].to_pylist(), dtype=float) for name in (one, other))
    second[~good] = np.nan
    known = second[np.isfinite(second)]
    if not known.size or known.min() == known.max():
        return [False] * columns.num_rows
    marks: list[bool] = pareto_front(first, second).tolist()
    return marks


def _counts(board: Leaderboard, layout: Layout, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return [f"no {layout.noun}s"]
    every = board.table.num_rows
    if every == len(rows):
        return []
    return [f"the first {len(rows):,} of {every:,} {layout.noun}s; --top {every} shows all"]


def _reasons(layout: Layout, rows: Sequence[Row]) -> list[Text]:
    """Why rows are not ok: a line for each reason, the most frequent first, and not too many."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["reason"]:
            found.setdefault(row["reason"], []).append(row)
    ordered = sorted(found.items(), key=lambda entry: -len(entry[1]))
    lines = [literal(f"{_some(layout, group)}: {why}") for why, group in ordered[:_REASONS]]
    rest = [row for _, group in ordered[_REASONS:] for row in group]
    if rest:
        statuses = " or ".join(f"--status {one}" for one in sorted({row["status"] for row in rest}))
        lines.append(Text(f"and {len(rest):,} more: see {statuses}, with --format csv for all"))
    return lines


def _ascii(text: str) -> str:
    """What the screen will show, as wide as it will be."""
    return text.encode("ascii", "backslashreplace").decode()


def _some(layout: Layout, rows: Sequence[Row]) -> str:
    names = ", ".join(layout.called(row) for row in rows[:_NAMES])
    return names if len(rows) <= _NAMES else f"{names} and {len(rows) - _NAMES:,} more"
