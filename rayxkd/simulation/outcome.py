"""What came out of a simulation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A scan as it would go; times in seconds.

    Attributes:
        teachers: how many.
        failed: how many of them got no ``ok``.
        workers: places for workers.
        makespan: from the wish for machines until the last row is written.
        work_bound: all work over the number of workers.
        longest: the longest teacher's time.
        store_bound: all bytes over what the store sends to all.
        first_start: from the wish for machines until the first teacher is begun.
        useful: time of workers on assessments that came to their end.
        cut_off: on those that an interruption ended.
        crashed: on those that ended with their process or at their deadline.
        starting: of workers that were starting.
        interruptions: machines that were taken away.
        machine_hours: of all machines, from the wish until they left.
        cost: price of them; ``None`` where none was given.
    """

    teachers: int
    failed: int
    workers: int
    makespan: float
    work_bound: float
    longest: float
    store_bound: float
    first_start: float
    useful: float
    cut_off: float
    crashed: float
    starting: float
    interruptions: int
    machine_hours: float
    cost: float | None

    @property
    def lower_bound(self) -> float:
        """No order of the work could be faster."""
        return max(self.work_bound, self.longest, self.store_bound)

    @property
    def over_bound(self) -> float:
        """How many times the lower bound the makespan is."""
        return self.makespan / self.lower_bound if self.lower_bound else 1.0

    @property
    def utilisation(self) -> float:
        """Share of the workers' places until the end that went into what came to its end."""
        return self.useful / (self.workers * self.makespan) if self.makespan else 1.0

    @property
    def cut_off_share(self) -> float:
        """Share of the time at work that interruptions made worthless."""
        spent = self.useful + self.cut_off + self.crashed
        return self.cut_off / spent if spent else 0.0

    @property
    def cost_per_thousand(self) -> float | None:
        """Cost of a thousand teachers."""
        return None if self.cost is None else 1000 * self.cost / self.teachers

    def as_dict(self) -> dict[str, Any]:
        """For programs: seconds, hours and shares as numbers."""
        derived = (
            *("lower_bound", "over_bound", "utilisation"),
            *("cut_off_share", "cost_per_thousand"),
        )
        return asdict(self) | {name: getattr(self, name) for name in derived}
