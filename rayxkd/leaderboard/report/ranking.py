"""The table of ranks: what stands in its cells, and where its intervals are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayxkd.leaderboard.report.standing import Row, Standing
from rayxkd.leaderboard.report.text import thousands
from rayxkd.leaderboard.schema import Meaning
from rayxkd.page import Axis, Tick, fixed

WIDTH = 190  # of the drawn intervals


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes:
        text: as people read it.
        value: as it is sorted; ``None`` where it is not known.
        is_optimal: whether the row is Pareto-optimal in this column and the cost.
    """

    text: str
    value: float | None
    is_optimal: bool = False


@dataclass(frozen=True)
class Heading:
    """What stands above a column.

    Attributes:
        title: its name.
        meaning: what it is and which way is better.
        rises: whether the better value is the lower one, so that it is sorted upwards first.
    """

    title: str
    meaning: str
    rises: bool


@dataclass(frozen=True)
class Bar:
    """An interval as it is drawn; places in pixels from the left."""

    low: float | None
    high: float | None
    mean: float


@dataclass(frozen=True)
class RankedRow:
    """One teacher.

    Attributes:
        number: by which figures refer to it.
        rank: of the table.
        teacher: its name.
        is_tied: with the leader.
        cost: of transport.
        low: lower end of its interval, or ``None``.
        high: upper end.
        bar: the same, drawn.
        cells: for the other columns.
        license: as its card says.
    """

    number: int
    rank: int
    teacher: str
    is_tied: bool
    cost: float
    low: float | None
    high: float | None
    bar: Bar
    cells: tuple[Cell, ...]
    license: str


@dataclass(frozen=True)
class Ranking:
    """All of the table.

    Attributes:
        rows: the first teachers.
        headings: of the columns between the interval and the licence.
        axis: of the drawn intervals.
        ticks: marked on it.
        band: from where to where the leader's interval reaches; ``None`` without one.
        teachers: how many have a rank, listed or not.
    """

    rows: tuple[RankedRow, ...]
    headings: tuple[Heading, ...]
    axis: Axis
    ticks: tuple[Tick, ...]
    band: tuple[float, float] | None
    teachers: int

    @property
    def has_licenses(self) -> bool:
        """Whether any card names one."""
        return any(row.license for row in self.rows)

    @property
    def has_optimal(self) -> bool:
        """Whether any cell is marked."""
        return any(cell.is_optimal for row in self.rows for cell in row.cells)

    @classmethod
    def of(cls, standing: Standing) -> Ranking:
        """The table of a leaderboard."""
        rows = standing.rows
        ends = [row[f"transport_cost{end}"] for row in rows for end in ("", "_low", "_high")]
        axis = Axis.around([end for end in ends if end is not None], 6, WIDTH - 6)
        columns = [column for column in _columns(standing) if column.is_known(rows)]
        listed = tuple(
            _row(number, row, axis, tuple(column.cell(row, number) for column in columns))
            for number, row in enumerate(rows)
        )
        first = listed[0].bar if listed else None
        band = None
        if first and first.low is not None and first.high is not None:
            band = (first.low, first.high)
        headings = tuple(column.heading for column in columns)
        return cls(listed, headings, axis, tuple(axis.ticks(4)), band, standing.teachers)


@dataclass(frozen=True)
class _Column:
    heading: Heading
    name: str
    write: Callable[[Any], str]
    optimal: frozenset[int] = frozenset()

    def is_known(self, rows: list[Row]) -> bool:
        return any(row[self.name] is not None for row in rows)

    def cell(self, row: Row, number: int) -> Cell:
        value = row[self.name]
        if value is None or not math.isfinite(value):
            return Cell("", None)
        return Cell(self.write(value), value, number in self.optimal)


def _columns(standing: Standing) -> list[_Column]:
    columns = [_column(standing, "relative", "relative_cost", _decimals)]
    columns += [_column(standing, name, name, _decimals) for name in standing.board.metrics]
    columns.append(_column(standing, "classes", "num_classes", "{:,}".format))
    columns.append(_column(standing, "size", "parameters", thousands, marks="parameters"))
    speed, slowness = "images_per_second", "seconds_per_image"
    columns.append(_column(standing, "images/s", speed, _speed, marks=slowness))
    return columns


def _column(
    standing: Standing, title: str, name: str, write: Callable[[Any], str], marks: str = ""
) -> _Column:
    said = Meaning.of(standing.ranked.schema.field(name))
    unit = f"in {said.unit}" if said.unit else ""
    told = ", ".join(part for part in (said.description, unit, f"{said.better} is better") if part)
    rises = said.better != "higher"
    heading = Heading(title, told if said.better else said.description, rises=rises)
    optimal: frozenset[int] = frozenset()
    if marks:
        optimal = frozenset(np.flatnonzero(standing.front(marks)[: standing.most]).tolist())
    return _Column(heading, name, write, optimal)


def _row(number: int, row: Row, axis: Axis, cells: tuple[Cell, ...]) -> RankedRow:
    cost, low, high = (row[f"transport_cost{end}"] for end in ("", "_low", "_high"))
    bar = Bar(_at(axis, low), _at(axis, high), axis.at(cost))
    is_tied, teacher = bool(row["tied"]), row["teacher"]
    license = row["license"] or ""
    return RankedRow(number, row["rank"], teacher, is_tied, cost, low, high, bar, cells, license)


def _at(axis: Axis, value: float | None) -> float | None:
    return None if value is None else axis.at(value)


def _decimals(value: float) -> str:
    return fixed(value, 3)


def _speed(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e5 else thousands(value)
