"""How far the other scores rank as the transport cost does.

Legend: T teachers that have a rank, R scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rayxkd.leaderboard.report.standing import Floats, Standing
from rayxkd.leaderboard.schema import Meaning

_FEWEST = 3  # teachers: of two there are two orders only


@dataclass(frozen=True)
class Choice:
    """What one score would have one take.

    Attributes:
        score: its name.
        meaning: what it is.
        teacher: whom it puts first.
        rank: of that teacher by transport cost.
        correlation: with the transport cost, as Spearman's.
        teachers: how many have a value.
    """

    score: str
    meaning: str
    teacher: str
    rank: int
    correlation: float
    teachers: int


@dataclass(frozen=True)
class Agreement:
    """Rank correlations between scores, each turned so that more is better.

    Attributes:
        names: of the scores, the transport cost first.
        correlation_RR: Spearman's; NaN where it is not known.
        choices: whom every other score puts first.
        teachers: over how many at most.
    """

    names: tuple[str, ...]
    correlation_RR: Floats
    choices: tuple[Choice, ...]
    teachers: int

    @classmethod
    def of(cls, standing: Standing) -> Agreement | None:
        """The agreement on a leaderboard; ``None`` where there is nothing to compare."""
        names = [*standing.board.metrics]
        if not names or standing.teachers < _FEWEST:
            return None
        scores = {"transport cost": -standing.values("transport_cost")}
        scores["relative cost"] = -standing.values("relative_cost")
        scores |= {name: standing.values(name) * _sign(standing, name) for name in names}
        scores = {name: score_T for name, score_T in scores.items() if _is_telling(score_T)}
        if len(scores) < 2 or "transport cost" not in scores:
            return None
        correlation_RR = np.array(
            [[_spearman(one, other) for other in scores.values()] for one in scores.values()]
        )
        shown = list(scores)
        choices = tuple(
            _choice(standing, name, scores[name], float(correlation_RR[0, shown.index(name)]))
            for name in names
            if name in scores
        )
        return cls(tuple(shown), correlation_RR, choices, standing.teachers)


def _sign(standing: Standing, name: str) -> int:
    return -1 if Meaning.of(standing.ranked.schema.field(name)).better == "lower" else 1


def _is_telling(score_T: Floats) -> bool:
    known_T = score_T[np.isfinite(score_T)]
    return len(known_T) >= _FEWEST and bool(known_T.min() < known_T.max())


def _spearman(one_T: Floats, other_T: Floats) -> float:
    """Correlation of ranks, over the teachers that have both scores; NaN where it is not known."""
    known_T = np.isfinite(one_T) & np.isfinite(other_T)
    if known_T.sum() < _FEWEST:
        return float("nan")
    ranks_2T = np.stack([_ranks(one_T[known_T]), _ranks(other_T[known_T])])
    if (ranks_2T.std(axis=1) == 0).any():
        return float("nan")
    return float(np.asarray(np.corrcoef(ranks_2T))[0, 1])


def _ranks(score_T: Floats) -> Floats:
    """Ranks from 1; equal scores share the mean of theirs (SciPy takes a second to import)."""
    _, place_T, counts = np.unique(score_T, return_inverse=True, return_counts=True)
    ranks: Floats = np.take(counts.cumsum() - (counts - 1) / 2, place_T)
    return ranks


def _choice(standing: Standing, name: str, score_T: Floats, correlation: float) -> Choice:
    place = int(np.nanargmax(np.where(np.isfinite(score_T), score_T, np.nan)))
    metadata = standing.ranked.schema.field(name).metadata or {}
    return Choice(
        score=name,
        meaning=metadata.get(b"description", b"").decode(),
        teacher=standing.ranked["teacher"][place].as_py(),
        rank=standing.ranked["rank"][place].as_py(),
        correlation=correlation,
        teachers=int(np.isfinite(score_T).sum()),
    )
