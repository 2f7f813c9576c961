"""Teachers raced against one another on growing parts of the probe set. No I/O, no Ray.

Successive elimination by interval (Maron and Moore, Hoeffding Races, NIPS 1993), with the intervals
of :mod:`rayxkd.assess.racing.bound`; where a budget does not suffice for all that are left, the
least likely go too, as in sequential halving (Karnin, Koren and Somekh, ICML 2013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rayxkd.assess.racing.bound import (
    Floats,
    Standing,
    chance_of_a_best,
    quantile,
    standing,
    values,
)
from rayxkd.assess.racing.plan import Plan


@dataclass(frozen=True)
class Heat:
    """One teacher on one part of the probe set.

    Attributes:
        cost_P: cost of every image of the part, the images in one order for all teachers.
        coarse_P: the same, fitted to half of them.
    """

    cost_P: Floats
    coarse_P: Floats


@dataclass(frozen=True)
class Elimination:
    """A teacher that goes no further.

    Attributes:
        teacher: who.
        reason: in which round, on how many images, and why; a sentence.
        by_interval: whether its interval says so; else its place and the budget.
    """

    teacher: str
    reason: str
    by_interval: bool


@dataclass
class Account:
    """What a race was and what it cost.

    Attributes:
        teachers: how many began.
        images: of the probe set.
        keep: how many best ones were wanted.
        rounds: that are done.
        spent: images that went through teachers, summed over teachers.
        by_interval: how many teachers went out because their interval says so.
        by_rank: how many because the budget did not let them go on.
        error: bound on the chance that an interval put one of the best out.
        missed: estimated chance that the budget put one of the best out, summed over rounds.
    """

    teachers: int
    images: int
    keep: int
    rounds: int = 0
    spent: int = 0
    by_interval: int = 0
    by_rank: int = 0
    error: float = 0.0
    missed: float = 0.0

    @property
    def share(self) -> float:
        """Of the images of the exhaustive scan."""
        return self.spent / (self.teachers * self.images)

    @property
    def claimed_error(self) -> float:
        """Chance that one of the best was missed, as far as the race can tell."""
        return min(1.0, self.error + self.missed)


@dataclass
class Race:
    """The state of a race.

    Ask every contender about the first ``images`` of the order, then close the round; until it
    is over. Contenders are always in the order in which they were given.

    Attributes:
        plan: parts, budget, how many best.
        contenders: who is in it.
        account: what was done so far.
        seen: how many images the contenders have seen.
    """

    plan: Plan
    contenders: list[str]
    account: Account = field(init=False)
    seen: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        plan = self.plan
        self.account = Account(len(self.contenders), plan.images, plan.keep)
        self._next = 0

    @property
    def is_over(self) -> bool:
        """Whether those that are left have seen all images."""
        return self._next >= len(self.plan.parts) or not self.contenders

    @property
    def images(self) -> int:
        """How many images the contenders of this round are judged on."""
        return self.plan.parts[self._next]

    @property
    def is_last_round(self) -> bool:
        """Whether this round is on all images."""
        return self.images == self.plan.images

    def limit(self, more: int) -> None:
        """Set the budget anew, before a round is closed, where it is a time.

        Args:
            more: images that the time will do for after this round; it has to do for the best.
        """
        spent = self.account.spent + len(self.contenders) * (self.images - self.seen)
        least = self.plan.keep * (self.plan.images - self.images)
        self.plan = replace(self.plan, budget=spent + max(more, least))

    def close(self, heats: Mapping[str, Heat]) -> list[Elimination]:
        """End a round.

        Args:
            heats: of the contenders, on ``images`` images; whoever is missing failed.

        Returns:
            Who goes no further, in the contenders' order.
        """
        account = self.account
        account.spent += len(self.contenders) * (self.images - self.seen)
        account.rounds += 1
        self.contenders = [teacher for teacher in self.contenders if teacher in heats]
        found: list[Elimination] = []
        if not self.is_last_round and self.contenders:
            found = self._eliminate(heats)
        out = {elimination.teacher for elimination in found}
        self.contenders = [teacher for teacher in self.contenders if teacher not in out]
        self.seen = self.images
        self._next += 1
        if len(self.contenders) <= self.plan.keep and not self.is_over:
            self._next = len(self.plan.parts) - 1
        return found

    def _eliminate(self, heats: Mapping[str, Heat]) -> list[Elimination]:
        plan, account = self.plan, self.account
        value_TP = _values(heats, self.contenders, plan.images)
        now = standing(value_TP, plan.keep, plan.images)
        needed = self._quantile(value_TP.shape[1])
        surely_T = now.ratio_T > needed
        rank_T = _rank_by(now)
        goes_on = plan.affordable(int((~surely_T).sum()), self._next + 1, account.spent)
        by_rank_T = ~surely_T & (rank_T >= goes_on)
        account.by_interval += int(surely_T.sum())
        account.by_rank += int(by_rank_T.sum())
        if surely_T.any():
            account.error += plan.error / (len(plan.parts) - 1)
        on_TP, out_TP = value_TP[~surely_T & ~by_rank_T], value_TP[by_rank_T]
        account.missed += chance_of_a_best(on_TP, out_TP, plan.keep, plan.images, self._next)
        return [
            Elimination(
                teacher,
                self._reason(now, place, needed if surely_T[place] else None, goes_on),
                bool(surely_T[place]),
            )
            for place, teacher in enumerate(self.contenders)
            if surely_T[place] or by_rank_T[place]
        ]

    def _quantile(self, seen: int) -> float:
        plan = self.plan
        return quantile(plan.error, self.account.teachers, plan.keep, len(plan.parts) - 1, seen)

    def _reason(self, now: Standing, place: int, needed: float | None, goes_on: int) -> str:
        plan, leader = self.plan, self.contenders[int(now.leaders_L[-1])]
        begin = (
            f"stopped in round {self.account.rounds} of {len(plan.parts)}, "
            f"on {self.images} of {plan.images} images: "
        )
        gap, deviation = now.gap_T[place], now.deviation_T[place]
        if needed is not None:
            sure = f"by {gap:.3g} +- {needed * deviation:.2g}"
            return f"{begin}its cost is above that of {leader} for sure ({sure})"
        return (
            f"{begin}the budget lets {goes_on} teacher(s) go on, and it is less likely to be among "
            f"the best {plan.keep} (its cost is above that of {leader} by {gap:.3g} +- "
            f"{deviation:.2g}, one standard error)"
        )


def _values(heats: Mapping[str, Heat], teachers: Sequence[str], images: int) -> Floats:
    cost_TP = np.stack([heats[teacher].cost_P for teacher in teachers]).astype(np.float64)
    coarse_TP = np.stack([heats[teacher].coarse_P for teacher in teachers]).astype(np.float64)
    return values(cost_TP, coarse_TP, images)


def _rank_by(now: Standing) -> NDArray[np.int64]:
    """Places by how likely a teacher is among the best: leaders first, then by ratio."""
    ratio_T = now.ratio_T.copy()
    ratio_T[now.leaders_L] = -np.inf
    rank_T = np.empty(len(ratio_T), dtype=np.int64)
    rank_T[np.argsort(ratio_T, kind="stable")] = np.arange(len(ratio_T))
    return rank_T
