"""What people see of a leaderboard: the teachers of a scan, or the trials of a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.search import SEARCH_KIND, TrialStatus
from rayxkd.status import Status

Row = dict[str, Any]


class Layout(ABC):
    """How the rows of one kind of leaderboard are shown.

    Attributes:
        titles: of the columns; the last is the status.
        words: titles of columns that hold words; all others hold numbers.
        name: title of the column that is never cut short.
        whole: title of a column that is never broken.
        styles: of a status; others are failures.
    """

    titles: list[str]
    words: tuple[str, ...]
    name: str
    whole: str
    styles: dict[str, str]

    @abstractmethod
    def heading(self) -> str:
        """What stands above the table."""

    @abstractmethod
    def cells(self, row: Row) -> list[str]:
        """One text for each of the titles."""

    @abstractmethod
    def notes(self, rows: list[Row]) -> list[str]:
        """What stands below the table, a line each."""

    def reason(self, row: Row) -> str:
        """Why a row is not ok, in a line."""
        return f"{row[self.name]}: {row['reason']}"


class TeachersLayout(Layout):
    """Teachers: costs with intervals, and ties."""

    def __init__(self, board: Leaderboard) -> None:
        self._board = board
        self.name, self.whole = "teacher", "cost [95 % interval]"
        self.words = ("teacher", "status")
        self.styles = {Status.OK: "green", Status.ELIMINATED: "yellow"}
        columns = [self.whole, "relative", *board.metrics, "classes", "size"]
        self.titles = ["rank", self.name, *columns, "status"]

    def heading(self) -> str:
        """See :class:`Layout`."""
        about = self._board.about
        return (
            f"{about['probe']}: {about['probe_images']} images of {len(about['class_names'])} "
            f"classes, cost '{about['settings']['cost']}' in {self._board.cost_unit}, "
            "lower is better"
        )

    def cells(self, row: Row) -> list[str]:
        """See :class:`Layout`."""
        rank = "" if row["rank"] is None else f"{row['rank']}{'=' if row['tied'] else ' '}"
        low, high = row["transport_cost_low"], row["transport_cost_high"]
        return [
            rank,
            row["teacher"],
            _with_interval(row["transport_cost"], low, high),
            _number(row["relative_cost"], ".3f"),
            *(_number(row[metric], ".3f") for metric in self._board.metrics),
            _number(row["num_classes"], "d"),
            _size(row["parameters"]),
            row["status"],
        ]

    def notes(self, rows: list[Row]) -> list[str]:
        """See :class:`Layout`."""
        tied = any(row["tied"] for row in rows)
        return ["= tied: the interval overlaps the leader's"] if tied else []


class TrialsLayout(Layout):
    """Trials: accuracies with intervals, and every parameter."""

    def __init__(self, board: Leaderboard) -> None:
        self._board = board
        self.name, self.whole = "trial", "accuracy [95 % interval]"
        self.words = ("cost", "form", "status")
        self.styles = {TrialStatus.OK: "green", TrialStatus.STOPPED: "yellow"}
        self.titles = [
            *("rank", self.name, self.whole, "epochs", "cost", "form", "epsilon", "temp."),
            *("penalty", "weight", "relation", "rate", "status"),
        ]

    def heading(self) -> str:
        """See :class:`Layout`."""
        about = self._board.about
        return (
            f"{about['data']}: accuracy on {about['validation_images']} images held back, higher "
            f"is better; {', '.join(about['teachers'])}: {about['views_asked']} views asked, "
            f"{about['views_known']} known before"
        )

    def cells(self, row: Row) -> list[str]:
        """See :class:`Layout`."""
        numbers = ("epsilon", "temperature", "source_penalty", "weight", "relation_weight")
        epsilon, temperature, *others = (_number(row[name], ".3g") for name in numbers)
        return [
            _number(row["rank"], "d"),
            f"{row['trial']}{'*' if row['default'] else ' '}",
            _with_interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"]),
            _number(row["epochs"], "d"),
            row["cost"],
            row["form"],
            epsilon,
            temperature or "auto",
            *others,
            _number(row["learning_rate"], ".3g"),
            row["status"],
        ]

    def notes(self, rows: list[Row]) -> list[str]:
        """See :class:`Layout`."""
        return ["* the base setting"] if any(row["default"] for row in rows) else []

    def reason(self, row: Row) -> str:
        """See :class:`Layout`."""
        return f"trial {super().reason(row)}"


def layout_of(board: Leaderboard) -> Layout:
    """How a leaderboard is shown."""
    return TrialsLayout(board) if board.kind == SEARCH_KIND else TeachersLayout(board)


def statuses_of(board: Leaderboard) -> list[str]:
    """What a row of the leaderboard may be."""
    return list(map(str, TrialStatus if board.kind == SEARCH_KIND else Status))


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    shown = _number(value, ".3f")
    return shown if low is None or high is None else f"{shown} [{low:.3f}, {high:.3f}]"


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
