"""The teachers of a leaderboard as arrays, for whatever the report says about all of them.

Legend: T teachers that have a rank, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.pareto import pareto_front
from rayxkd.leaderboard.query import columns_of
from rayxkd.leaderboard.report.text import teacher_labels
from rayxkd.leaderboard.values import is_text
from rayxkd.status import Status

Floats = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """Who stands where.

    Attributes:
        board: the leaderboard.
        most: how many rows are listed one by one.
    """

    board: Leaderboard
    most: int

    @cached_property
    def ranked(self) -> pa.Table:
        """Rows that have a rank, and ``seconds_per_image``."""
        columns = columns_of(self.board)
        return columns.filter(is_text(columns["status"], Status.OK))

    @cached_property
    def others(self) -> pa.Table:
        """Rows without a rank."""
        table = self.board.table
        return table.filter(pc.invert(is_text(table["status"], Status.OK)))

    @cached_property
    def rows(self) -> list[Row]:
        """The first rows that have a rank."""
        found: list[Row] = self.ranked.slice(0, self.most).to_pylist()
        return found

    @property
    def teachers(self) -> int:
        """How many have a rank."""
        return int(self.ranked.num_rows)

    @cached_property
    def labels(self) -> dict[str, str]:
        """What the listed teachers are called in figures."""
        return teacher_labels([row["teacher"] for row in self.rows])

    def values(self, name: str) -> Floats:
        """A column of those that have a rank, [T]; NaN where it is not known."""
        if name not in self.ranked.column_names:
            return np.full(self.teachers, np.nan)
        column = self.ranked[name].cast(pa.float64(), safe=False)
        array: Floats = np.full(self.teachers, np.nan)
        known = pc.is_valid(column)
        array[_numbers(known.cast(pa.uint8())) == 1] = _numbers(column.filter(known))
        return array

    @cached_property
    def tied_T(self) -> NDArray[np.bool_]:
        """Whether the interval overlaps the leader's."""
        tied_T: NDArray[np.bool_] = self.values("tied") == 1
        return tied_T

    def front(self, name: str) -> NDArray[np.bool_]:
        """Who is Pareto-optimal in cost and this column, where less is better in both.

        Nobody is where all are the same in it.
        """
        values_T = self.values(name)
        known_T = values_T[np.isfinite(values_T)]
        if not known_T.size or known_T.min() == known_T.max():
            return np.zeros(self.teachers, dtype=np.bool_)
        marks_T: NDArray[np.bool_] = pareto_front(self.values("transport_cost"), values_T)
        return marks_T


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers without gaps; ``to_numpy`` would import pandas."""
    array = column.combine_chunks()
    return np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())[
        array.offset : array.offset + len(array)
    ]
