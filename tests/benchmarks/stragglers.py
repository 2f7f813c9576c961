"""Would copies of the teachers that run last help where some machines are slow? In simulated time.

Run: ``uv run python tests/benchmarks/stragglers.py``

Every case is simulated with the scheduler of a scan, and with one that gives a worker for which no
teacher waits a copy of the one that has been running longest; whichever ends first counts, and the
other is stopped (as in MapReduce; Dean and Ghemawat, 2004). The best that any such scheme could do
is told too: the start of the workers, and all work over the speed of all machines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

from rayxkd.fleet.actor_pool import ActorPool
from rayxkd.fleet.pool import Finished
from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.measured import SCAN, Spread
from rayxkd.simulation.outcome import Outcome
from rayxkd.simulation.run import simulate_scan
from rayxkd.simulation.teacher import SimulatedTeacher
from rayxkd.simulation.workload import drawn_teachers

_MACHINES, _FACTOR, _TIMEOUT = 256, 3.0, 1800.0
_SEEDS = range(5)


class CopyingPool(ActorPool[SimulatedTeacher]):
    """Runs what is left at the end twice."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._copied: set[str] = set()
        self._ended: set[str] = set()

    def run(
        self, jobs: Iterable[SimulatedTeacher], begin_next: Callable[[], bool]
    ) -> Iterator[Finished[SimulatedTeacher]]:
        for result in super().run(jobs, begin_next):
            name = result.job.name
            others = [ref for ref, one in self._running.items() if one.tried.job.name == name]
            if name in self._ended:
                continue
            self._ended.add(name)
            for ref in others:
                self._ray.kill(self._running.pop(ref).actor.handle)
            yield result

    def _hand_out(self, actor: Any, queue: deque[Any], upcoming: Any = None) -> None:
        if not queue and upcoming is None:
            alone = (
                one
                for one in self._running.values()
                if one.tried.job.name not in self._copied and one.upcoming is None
            )
            longest = min(alone, key=lambda one: one.since, default=None)
            if longest is not None:
                self._copied.add(longest.tried.job.name)
                queue.append(longest.tried)
        super()._hand_out(actor, queue, upcoming)


def outcomes(
    teachers: list[SimulatedTeacher], slow_share: float, scheduler: type[ActorPool[Any]]
) -> list[Outcome]:
    conditions = Conditions(
        machines=_MACHINES,
        boot=180.0,
        start=15.0,
        slow_share=slow_share,
        slow_factor=_FACTOR,
        driver=0.005,
        write=0.005,
        writers=32,
    )
    return [
        simulate_scan(teachers, conditions, timeout=_TIMEOUT, seed=seed, scheduler=scheduler)
        for seed in _SEEDS
    ]


def main() -> None:
    print(
        f"{_MACHINES} machines, slow ones {_FACTOR:g} times slower, medians of {len(_SEEDS)} seeds"
    )
    print(
        "| teachers | slow | seconds | copies | machine-hours | copies | failed | copies | best |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for count in (1_000, 10_000, 30_000):
        teachers = drawn_teachers(SCAN, count, 0, Spread())
        for share in (0.0, 0.05, 0.2):
            plain, copying = (outcomes(teachers, share, one) for one in (ActorPool, CopyingPool))
            speed = 1 - share + share / _FACTOR
            cells = [
                f"{median(getattr(one, name) for one in runs):,.0f}"
                for name in ("makespan", "machine_hours", "failed")
                for runs in (plain, copying)
            ]
            bound = 195 + plain[0].work_bound / speed
            print(f"| {count:,} | {share:.0%} | {' | '.join(cells)} | {bound:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
