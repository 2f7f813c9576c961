"""What people see of a leaderboard: the teachers of a scan, or the trials of a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.search import SEARCH_KIND, TrialStatus
from rayxkd.status import Status

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column as people see it.

    Attributes:
        title: what stands above it.
        cell: the text of a row.
        needs: the table's columns that the text is made of.
        gives_way: where there is too little room, columns with the highest number are left out
            first; one with 0 stays.
        words: it holds words, not numbers.
    """

    title: str
    cell: Callable[[Row], str]
    needs: tuple[str, ...]
    gives_way: int = 0
    words: bool = False


class Layout(ABC):
    """How the rows of one kind of leaderboard are shown.

    Attributes:
        columns: from left to right; the first is the rank, the last the status.
        name: title of the column that may be broken over lines, but is never cut short.
        noun: what a row is, for messages.
        interval: the table's columns with the value that ranks, its interval's ends, and what the
            picture of them is called.
        trade_offs: title of a column in which rows are marked that are Pareto-optimal in two
            columns where less is better; then those columns, and what a row with less of the
            second is.
        short_names: what a column is also called, to its name in the table.
        styles: of a status; others are failures.
    """

    columns: list[Column]
    name: str
    noun: str
    interval: tuple[str, str, str, str]
    trade_offs: ClassVar[Mapping[str, tuple[str, str, str]]]
    short_names: ClassVar[Mapping[str, str]]
    styles: ClassVar[Mapping[str, str]]

    @property
    def titles(self) -> list[str]:
        """Of the columns, in their order."""
        return [column.title for column in self.columns]

    @property
    def words(self) -> tuple[str, ...]:
        """Titles of columns that hold words; all others hold numbers."""
        return tuple(column.title for column in self.columns if column.words)

    def cells(self, row: Row) -> list[str]:
        """One text for each of the titles."""
        return [column.cell(row) for column in self.columns]

    def called(self, row: Row) -> str:
        """What a row is called in a sentence."""
        return str(row[self.name])

    @abstractmethod
    def heading(self) -> str:
        """What stands above the table."""

    @abstractmethod
    def notes(self, rows: Sequence[Row], tie: str = "=") -> list[str]:
        """What stands below the table, a line each; ``tie`` is the sign of those that are tied."""


class TeachersLayout(Layout):
    """Teachers: costs with intervals, ties, and what is small or fast for its cost."""

    name, noun = "teacher", "teacher"
    interval = ("transport_cost", "transport_cost_low", "transport_cost_high", "cost bars")
    trade_offs: ClassVar[Mapping[str, tuple[str, str, str]]] = {
        "size": ("transport_cost", "parameters", "small"),
        "images/s": ("transport_cost", "seconds_per_image", "fast"),
    }
    short_names: ClassVar[Mapping[str, str]] = {
        "cost": "transport_cost",
        "relative": "relative_cost",
        "classes": "num_classes",
        "size": "parameters",
    }
    styles: ClassVar[Mapping[str, str]] = {Status.OK: "green", Status.ELIMINATED: "yellow"}

    def __init__(self, board: Leaderboard) -> None:
        self._board = board
        self.columns = [
            Column("rank", _rank, ("rank", "tied")),
            Column("teacher", lambda row: str(row["teacher"]), ("teacher",), words=True),
            Column("cost [95 % interval]", _interval_of(*self.interval[:3]), self.interval[:3]),
            _number_column("relative", "relative_cost", ".3f", 5),
            *(_number_column(metric, metric, ".3f", 6) for metric in board.metrics),
            _number_column("classes", "num_classes", "d", 4),
            Column("size", lambda row: size_of(row["parameters"]), ("parameters",), 2),
            *_speed_column(board.table),
            Column("status", lambda row: str(row["status"]), ("status",), 1, words=True),
        ]

    def heading(self) -> str:
        """See :class:`Layout`."""
        about = self._board.about
        return (
            f"{about['probe']}: {about['probe_images']} images of {len(about['class_names'])} "
            f"classes, cost '{about['settings']['cost']}' in {self._board.cost_unit}, "
            "lower is better"
        )

    def notes(self, rows: Sequence[Row], tie: str = "=") -> list[str]:
        """See :class:`Layout`."""
        tied = any(row["tied"] for row in rows)
        return [f"{tie} tied: the interval overlaps the leader's"] if tied else []


class TrialsLayout(Layout):
    """Trials: accuracies with intervals, and every parameter."""

    name, noun = "trial", "trial"
    interval = ("accuracy", "accuracy_low", "accuracy_high", "accuracy bars")
    trade_offs: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    short_names: ClassVar[Mapping[str, str]] = {
        "temp": "temperature",
        "penalty": "source_penalty",
        "relation": "relation_weight",
        "rate": "learning_rate",
    }
    styles: ClassVar[Mapping[str, str]] = {TrialStatus.OK: "green", TrialStatus.STOPPED: "yellow"}

    def __init__(self, board: Leaderboard) -> None:
        self._board = board
        self.columns = [
            _number_column("rank", "rank", "d", 0),
            Column("trial", _trial, ("trial", "default")),
            Column("accuracy [95 % interval]", _interval_of(*self.interval[:3]), self.interval[:3]),
            _number_column("epochs", "epochs", "d", 2),
            Column("cost", lambda row: str(row["cost"]), ("cost",), 3, words=True),
            Column("form", lambda row: str(row["form"]), ("form",), 4, words=True),
            _number_column("epsilon", "epsilon", ".3g", 6),
            Column("temp.", _temperature, ("temperature",), 7),
            _number_column("penalty", "source_penalty", ".3g", 9),
            _number_column("weight", "weight", ".3g", 5),
            _number_column("relation", "relation_weight", ".3g", 10),
            _number_column("rate", "learning_rate", ".3g", 8),
            Column("status", lambda row: str(row["status"]), ("status",), 1, words=True),
        ]

    def heading(self) -> str:
        """See :class:`Layout`."""
        about = self._board.about
        return (
            f"{about['data']}: accuracy on {about['validation_images']} images held back, higher "
            f"is better; {', '.join(about['teachers'])}: {about['views_asked']} views asked, "
            f"{about['views_known']} known before"
        )

    def called(self, row: Row) -> str:
        """See :class:`Layout`."""
        return f"trial {row['trial']}"

    def notes(self, rows: Sequence[Row], tie: str = "=") -> list[str]:  # noqa: ARG002
        """See :class:`Layout`."""
        return ["* the base setting"] if any(row["default"] for row in rows) else []


def layout_of(board: Leaderboard) -> Layout:
    """How a leaderboard is shown."""
    return TrialsLayout(board) if board.kind == SEARCH_KIND else TeachersLayout(board)


def statuses_of(board: Leaderboard) -> list[str]:
    """What a row of the leaderboard may be."""
    return list(map(str, TrialStatus if board.kind == SEARCH_KIND else Status))


def _speed_column(table: pa.Table) -> list[Column]:
    """Images per second, where a forward pass was timed at all."""
    timed = table.num_rows - table["forward_seconds"].null_count
    return [Column("images/s", _speed, ("images_seen", "forward_seconds"), 3)] if timed else []


def _number_column(title: str, source: str, form: str, gives_way: int) -> Column:
    return Column(title, partial(_cell, source, form), (source,), gives_way)


def _cell(source: str, form: str, row: Row) -> str:
    return _number(row[source], form)


def _rank(row: Row) -> str:
    return "" if row["rank"] is None else f"{row['rank']}{'=' if row['tied'] else ' '}"


def _trial(row: Row) -> str:
    return f"{row['trial']}{'*' if row['default'] else ' '}"


def _temperature(row: Row) -> str:
    return _number(row["temperature"], ".3g") or "auto"


def _speed(row: Row) -> str:
    seconds, images = row["forward_seconds"], row["images_seen"]
    if not seconds or not images:
        return ""
    speed = images / seconds
    return f"{speed:.0f}" if 100 <= speed < 1e5 else _thousands(speed)


def _interval_of(value: str, low: str, high: str) -> Callable[[Row], str]:
    return lambda row: _with_interval(row[value], row[low], row[high])


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    shown = _number(value, ".3f")
    return shown if low is None or high is None else f"{shown} [{low:.3f}, {high:.3f}]"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def size_of(parameters: int | None) -> str:
    """Number of parameters, to three digits."""
    if parameters is None:
        return ""
    return str(parameters) if parameters < 1_000 else _thousands(parameters)


def _thousands(value: float) -> str:
    """A positive number, to three digits."""
    for unit, power in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= power:
            return f"{value / power:.3g}{unit}"
    return f"{value:.3g}"
