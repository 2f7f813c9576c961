"""What becomes of workers when their machine goes at a chosen moment."""

from __future__ import annotations

import pytest

from rayxkd.fleet import ActorPool
from rayxkd.simulation.cluster import SimulatedRay
from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.machines import Machine
from rayxkd.simulation.teacher import SimulatedTeacher

JOBS = [SimulatedTeacher(name, 1, seconds) for name, seconds in (("a", 10), ("b", 5), ("c", 5))]


def run(ray: SimulatedRay, machines_lost_at: float | None = None) -> list[tuple[float, str, int]]:
    """When which teacher ended, and after how many attempts."""
    if machines_lost_at is not None:
        timeout = ray.env.timeout(machines_lost_at)
        timeout.callbacks.append(lambda _: [ray.machines.take_away(one) for one in standing(ray)])
    pool: ActorPool[SimulatedTeacher] = ActorPool(
        ray, ray.create_actor, ray.conditions.workers, None, now=ray.now
    )
    return [
        (ray.now(), result.job.name, result.attempts) for result in pool.run(JOBS, lambda: True)
    ]


def standing(ray: SimulatedRay) -> list[Machine]:
    return list(ray.machines._standing.values())


def test_in_the_order_given() -> None:
    ended = run(SimulatedRay(Conditions(machines=1, start=1.0), 0))
    assert ended == [(11.0, "a", 1), (16.0, "b", 1), (21.0, "c", 1)]


def test_what_is_cut_off_goes_to_the_front_and_counts_against_no_teacher() -> None:
    ray = SimulatedRay(Conditions(machines=1, boot=2.0, start=1.0, detect=3.0), 0)
    ended = run(ray, machines_lost_at=7.0)
    # Four seconds of work are lost; the loss is noticed at 10, and the next machine works at 13.
    assert ended == [(23.0, "a", 1), (28.0, "b", 1), (33.0, "c", 1)]
    assert (ray.tally.interruptions, ray.tally.cut_off, ray.tally.useful) == (0, 4.0, 20.0)


def test_a_machine_that_goes_while_its_worker_starts() -> None:
    ray = SimulatedRay(Conditions(machines=1, start=4.0, detect=1.0), 0)
    ended = run(ray, machines_lost_at=3.0)
    assert [name for _, name, _ in ended] == ["a", "b", "c"]
    assert ended[0][0] == 18.0
    assert (ray.tally.starting, ray.tally.cut_off) == (7.0, 0.0)


def test_a_machine_that_goes_while_the_driver_is_busy() -> None:
    """The result is on its way; the next teacher is handed to a worker that is gone."""
    ray = SimulatedRay(Conditions(machines=1, start=1.0, detect=1.0), 0)
    timeout = ray.env.timeout(11.5)
    timeout.callbacks.append(lambda _: ray.machines.take_away(standing(ray)[0]))
    pool: ActorPool[SimulatedTeacher] = ActorPool(ray, ray.create_actor, 1, None, now=ray.now)
    results = pool.run(JOBS, lambda: True)
    assert next(results).job.name == "a"
    assert [result.job.name for result in results] == ["b", "c"]
    assert ray.tally.useful == 20.0
    assert ray.tally.cut_off == pytest.approx(0.5)


def test_only_one_call_is_awaited() -> None:
    with pytest.raises(NotImplementedError):
        SimulatedRay(Conditions(machines=1), 0).wait([], num_returns=2, timeout=1.0)


def test_a_worker_fetches_the_next_file_while_it_assesses() -> None:
    conditions = Conditions(machines=1, download=1.0)
    jobs = [SimulatedTeacher(f"t{number}", 4, 10.0) for number in range(12)]
    ended: dict[bool, float] = {}
    for look_ahead in (False, True):
        ray = SimulatedRay(conditions, 0)
        pool: ActorPool[SimulatedTeacher] = ActorPool(
            ray, ray.create_actor, 1, None, look_ahead=look_ahead, now=ray.now
        )
        assert [one.job for one in pool.run(jobs, lambda: True)] == jobs
        ended[look_ahead] = ray.now()
        assert ray.tally.useful == ended[look_ahead]
    # Four seconds for every file; six are fetched ahead: not the first five, which are the
    # longest, and not the last, which any worker that is free may take.
    assert ended == {False: 168.0, True: 144.0}


def test_what_was_fetched_for_a_worker_that_is_lost_is_fetched_again() -> None:
    ray = SimulatedRay(Conditions(machines=1, download=1.0), 0)
    timeout = ray.env.timeout(62.0)
    timeout.callbacks.append(lambda _: ray.machines.take_away(standing(ray)[0]))
    jobs = [SimulatedTeacher(f"t{number}", 4, 10.0) for number in range(12)]
    pool: ActorPool[SimulatedTeacher] = ActorPool(
        ray, ray.create_actor, 1, None, look_ahead=True, now=ray.now
    )
    assert [one.job for one in pool.run(jobs, lambda: True)] == jobs
    assert ray.now() == 6.0 + 144.0
    assert ray.tally.cut_off == 6.0
