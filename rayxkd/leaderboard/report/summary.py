"""What a leaderboard says, as facts of which the page makes sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rayxkd.leaderboard.explanation import Explanation
from rayxkd.leaderboard.report.failures import Failures
from rayxkd.leaderboard.report.standing import Row, Standing

# So much smaller or faster, and it is worth a sentence.
_WORTHWHILE = 1.5
# At so much of the cost of guessing, or of random pairs, nothing was learnt.
_HARDLY = 0.95
_NAMES = 4


@dataclass(frozen=True)
class Alternative:
    """A teacher that is tied with the leader, and by how many times it is smaller or faster."""

    row: Row
    times: float


@dataclass(frozen=True)
class Summary:
    """The facts.

    Attributes:
        leader: its row; ``None`` where no teacher has a rank.
        teachers: how many have one.
        all: how many there are.
        tied: how many are tied with the leader, apart from it.
        tied_names: the first of them.
        smaller: the smallest of them, if it is much smaller.
        faster: the fastest, if it is much faster.
        guess: cost of guessing one of the classes; ``None`` where costs are no nats.
        hardly: whether even the leader hardly does better than guessing or random pairs.
        found: what is known of the leader.
        failures: those without a rank.
    """

    leader: Row | None
    teachers: int
    all: int
    tied: int
    tied_names: tuple[str, ...]
    smaller: Alternative | None
    faster: Alternative | None
    guess: float | None
    hardly: bool
    found: Explanation | None
    failures: Failures

    @classmethod
    def of(cls, standing: Standing, found: Sequence[Explanation], failures: Failures) -> Summary:
        """The facts of a leaderboard.

        Args:
            standing: who stands where.
            found: explanations of its leading teachers, the leader's first.
            failures: teachers without a rank.
        """
        board = standing.board
        classes = len(board.about["class_names"])
        guess = math.log(classes) if board.cost_unit == "nats" and classes > 1 else None
        if not standing.rows:
            return cls(
                None, 0, board.table.num_rows, 0, (), None, None, guess, False, None, failures
            )
        leader = standing.rows[0]
        tied = np.flatnonzero(standing.tied_T)
        tied = tied[tied > 0]
        names = standing.ranked["teacher"]
        return cls(
            leader=leader,
            teachers=standing.teachers,
            all=board.table.num_rows,
            tied=len(tied),
            tied_names=tuple(names[int(place)].as_py() for place in tied[:_NAMES]),
            smaller=_alternative(standing, "parameters"),
            faster=_alternative(standing, "seconds_per_image"),
            guess=guess,
            hardly=_is_hardly_better(leader, guess),
            found=found[0] if found else None,
            failures=failures,
        )

    @property
    def tied_left_out(self) -> int:
        """How many tied teachers have no name here."""
        return self.tied - len(self.tied_names)


def _alternative(standing: Standing, name: str) -> Alternative | None:
    """The tied teacher with least of something, if the leader has much more of it."""
    value_T = np.where(standing.tied_T, standing.values(name), np.nan)
    if not np.isfinite(value_T).any() or not np.isfinite(value_T[0]):
        return None
    place = int(np.nanargmin(value_T))
    if not place or value_T[place] <= 0 or value_T[0] / value_T[place] < _WORTHWHILE:
        return None
    row = standing.ranked.slice(place, 1).to_pylist()[0]
    return Alternative(row, float(value_T[0] / value_T[place]))


def _is_hardly_better(leader: Row, guess: float | None) -> bool:
    relative = leader["relative_cost"]
    if guess is not None and leader["transport_cost"] > _HARDLY * guess:
        return True
    return relative is not None and relative > _HARDLY
