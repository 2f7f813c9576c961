"""One simulated scan: the real pool of actors on a simulated cluster."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from rayxkd.fleet.actor_pool import GRACE_SECONDS, ActorPool
from rayxkd.fleet.attempts import ATTEMPTS
from rayxkd.fleet.order import longest_first
from rayxkd.fleet.pool import Finished
from rayxkd.simulation.cluster import SimulatedRay
from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.outcome import Outcome
from rayxkd.simulation.teacher import SimulatedTeacher


def simulate_scan(
    teachers: Sequence[SimulatedTeacher],
    conditions: Conditions,
    *,
    workers: int | None = None,
    timeout: float | None = None,
    price: float | None = None,
    seed: int = 0,
    scheduler: type[ActorPool[SimulatedTeacher]] = ActorPool,
) -> Outcome:
    """Let the scheduler of a scan work in simulated time.

    Args:
        teachers: in any order; they are begun in that of a scan's agenda.
        conditions: machines, network and driver.
        workers: how many at a time, at most; ``None`` fills the machines.
        timeout: seconds that one teacher may take.
        price: of a machine for an hour.
        seed: of interruptions and crashes.
        scheduler: that of a scan, or another to compare it with.
    """
    ray = SimulatedRay(conditions, seed, timeout)
    jobs = sorted(teachers, key=lambda one: longest_first(one.weights_bytes, one.name))
    limit = min(conditions.workers if workers is None else workers, len(jobs))
    pool = scheduler(
        ray,
        ray.create_actor,
        limit,
        timeout,
        grace=GRACE_SECONDS,
        look_ahead=True,
        now=ray.now,
    )
    writers = _Writers(ray)
    failed = 0
    for result in pool.run(jobs, lambda: True):
        failed += _has_failed(result)
        ray.work(conditions.driver)
        writers.write()
    writers.flush()
    ray.machines.close()
    hours = ray.tally.machine_seconds / 3600
    needed = [_seconds_needed(one, timeout) for one in jobs]
    return Outcome(
        teachers=len(jobs),
        failed=failed,
        workers=conditions.workers,
        makespan=ray.now(),
        work_bound=sum(needed) / conditions.workers,
        longest=max(needed, default=0.0),
        store_bound=sum(one.weights_bytes for one in jobs) / conditions.store,
        first_start=conditions.boot + conditions.start,
        useful=ray.tally.useful,
        cut_off=ray.tally.cut_off,
        crashed=ray.tally.crashed,
        starting=ray.tally.starting,
        interruptions=ray.tally.interruptions,
        machine_hours=hours,
        cost=None if price is None else price * hours,
    )


class _Writers:
    """Rows on their way to the leaderboard: the driver waits where all writers are at work."""

    def __init__(self, ray: SimulatedRay) -> None:
        self._ray = ray
        self._free_at = [0.0] * ray.conditions.writers

    def write(self) -> None:
        free_at = heapq.heappop(self._free_at)
        self._ray.work(free_at - self._ray.now())
        heapq.heappush(self._free_at, self._ray.now() + self._ray.conditions.write)

    def flush(self) -> None:
        self._ray.work(max(self._free_at) - self._ray.now())


def _has_failed(result: Finished[SimulatedTeacher]) -> bool:
    return bool(result.failure or result.job.failure)


def _seconds_needed(teacher: SimulatedTeacher, timeout: float | None) -> float:
    """What it takes at the least: its file may come ahead, and a crash at once."""
    if teacher.hangs:
        return timeout or 0.0
    if teacher.crashes >= ATTEMPTS:
        return 0.0
    return teacher.seconds if timeout is None else min(timeout, teacher.seconds)
