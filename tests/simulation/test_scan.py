"""Cases whose makespan is known, and laws that hold in every case."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rayxkd.fleet.attempts import MOST_ATTEMPTS
from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.outcome import Outcome
from rayxkd.simulation.run import simulate_scan
from rayxkd.simulation.teacher import SimulatedTeacher


def teachers(*seconds: float) -> list[SimulatedTeacher]:
    """Teachers whose size says exactly how long they take."""
    return [
        SimulatedTeacher(f"t{number}", round(1000 * one), one) for number, one in enumerate(seconds)
    ]


def scan(*seconds: float, machines: int = 1, **changes: float) -> Outcome:
    conditions = Conditions(machines=machines, **changes)  # type: ignore[arg-type]
    return simulate_scan(teachers(*seconds), conditions)


def test_one_machine_takes_the_sum_of_the_work() -> None:
    outcome = scan(3.0, 1.5, 8.25, 2.0)
    assert outcome.makespan == pytest.approx(14.75)
    assert outcome.lower_bound == pytest.approx(14.75)
    assert outcome.utilisation == pytest.approx(1.0)


def test_machines_and_workers_start_first() -> None:
    outcome = scan(3.0, 1.5, boot=100.0, start=10.0, idle=50.0)
    assert outcome.makespan == pytest.approx(114.5)
    assert outcome.first_start == 110.0
    assert outcome.starting == pytest.approx(10.0)
    assert outcome.machine_hours == pytest.approx(164.5 / 3600)


def test_equal_teachers_fill_equal_machines() -> None:
    outcome = scan(*[7.0] * 12, machines=4)
    assert outcome.makespan == pytest.approx(21.0)
    assert outcome.over_bound == pytest.approx(1.0)


def test_places_of_a_machine_are_workers() -> None:
    assert scan(*[7.0] * 12, machines=2, places=2).makespan == pytest.approx(21.0)


def test_the_longest_go_first() -> None:
    # Graham's worst case for two: 3 + 2 + 2 beside 3 + 2, where 3 + 3 beside 2 + 2 + 2 is best.
    assert scan(2.0, 3.0, 2.0, 3.0, 2.0, machines=2).makespan == pytest.approx(7.0)
    # In the order given, the long one would be begun last: 13 instead of 10.
    assert scan(3.0, 3.0, 10.0, machines=2).makespan == pytest.approx(10.0)


def optimum(seconds: list[float], machines: int) -> float:
    """The least makespan of all ways to share the work out."""
    ways = product(range(machines), repeat=len(seconds))
    return min(
        max(
            sum(one for one, place in zip(seconds, way, strict=True) if place == machine)
            for machine in range(machines)
        )
        for way in ways
    )


work = st.integers(1, 400).map(lambda quarter: quarter / 4)


@settings(max_examples=60, deadline=None)
@given(st.lists(work, min_size=1, max_size=7), st.integers(1, 3))
def test_within_a_third_of_the_best(seconds: list[float], machines: int) -> None:
    best = optimum(seconds, machines)
    makespan = scan(*seconds, machines=machines).makespan
    assert best - 1e-6 <= makespan <= best * (4 / 3 - 1 / (3 * machines)) + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.lists(work, min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 3))
def test_between_the_bounds_of_list_scheduling(
    seconds: list[float], machines: int, places: int
) -> None:
    outcome = scan(*seconds, machines=machines, places=places)
    assert outcome.lower_bound <= outcome.makespan + 1e-6
    # Until no teacher waits all are at work; then each has one, and one that it fetched ahead.
    assert outcome.makespan <= outcome.work_bound + 2 * outcome.longest + 1e-6
    assert outcome.useful == pytest.approx(sum(seconds))
    # The first four for each worker are not fetched ahead.
    first = scan(*seconds[: 4 * outcome.workers], machines=machines, places=places)
    share = 1 - 1 / outcome.workers
    assert first.makespan <= first.work_bound + share * first.longest + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(work, min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 1000),
)
def test_interruptions_lose_no_work_and_no_time(
    seconds: list[float], machines: int, places: int, seed: int
) -> None:
    """Every teacher is assessed once to its end, and every second of a worker is accounted for."""
    conditions = Conditions(
        machines=machines,
        places=places,
        boot=20.0,
        start=5.0,
        detect=3.0,
        idle=60.0,
        interruptions=0.999,
    )
    outcome = simulate_scan(teachers(*seconds), conditions, seed=seed)
    assume(outcome.failed == 0)  # one that loses five machines is given up
    assert outcome.useful == pytest.approx(sum(seconds))
    spent = outcome.useful + outcome.cut_off + outcome.starting + outcome.crashed
    assert spent <= 3600 * outcome.machine_hours * places + 1e-6
    assert outcome.crashed == 0
    if outcome.interruptions == 0:
        assert outcome.cut_off == 0


def test_the_seed_decides() -> None:
    jobs = teachers(*[30.0 + 7 * number for number in range(60)])
    conditions = Conditions(machines=5, boot=60.0, start=5.0, detect=10.0, interruptions=0.9)
    first, again, other = (simulate_scan(jobs, conditions, seed=seed) for seed in (1, 1, 2))
    assert first.interruptions > 0
    assert first == again
    assert first != other


def test_what_crashes_twice_is_given_up() -> None:
    twice = SimulatedTeacher("twice", 1, 10.0, crashes=2)
    outcome = simulate_scan([twice], Conditions(machines=1, start=1.0))
    assert outcome.failed == 1
    assert 0 < outcome.crashed < 20.0
    assert outcome.starting == pytest.approx(1.0)  # what ended is not the worker
    assert outcome.makespan == pytest.approx(1.0 + outcome.crashed)


def test_where_one_crashes_once_the_others_are_tried_more_often() -> None:
    once = SimulatedTeacher("once", 3, 10.0, crashes=1)
    thrice = SimulatedTeacher("thrice", 2, 10.0, crashes=3)
    always = SimulatedTeacher("always", 1, 10.0, crashes=MOST_ATTEMPTS)
    outcome = simulate_scan([once, thrice, always], Conditions(machines=1, start=1.0))
    assert outcome.failed == 1
    assert outcome.useful == pytest.approx(20.0)
    assert 0 < outcome.crashed < 80.0
    assert outcome.starting == pytest.approx(1.0)
    assert outcome.makespan == pytest.approx(21.0 + outcome.crashed)


def test_what_hangs_ends_at_its_deadline() -> None:
    hangs = SimulatedTeacher("hangs", 2, 10.0, hangs=True)
    outcome = simulate_scan([hangs], Conditions(machines=1), timeout=30.0)
    assert outcome.failed == 1
    assert outcome.crashed == pytest.approx(outcome.makespan) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("download", "seconds"), [(1.0, 1.0), (1e9, 40.0)], ids=["its file", "its forward passes"]
)
def test_what_takes_too_long_ends_at_its_deadline(download: float, seconds: float) -> None:
    slow = SimulatedTeacher("slow", 100, seconds)
    conditions = Conditions(machines=1, start=1.0, download=download)
    quick = SimulatedTeacher("quick", 0, 4.0)
    outcome = simulate_scan([slow, quick], conditions, timeout=30.0)
    assert outcome.failed == 1
    assert outcome.crashed == pytest.approx(30.0)
    assert outcome.useful == pytest.approx(4.0)
    assert outcome.starting == pytest.approx(1.0)


def test_a_row_that_failed_without_a_crash_costs_its_time_only() -> None:
    broken = SimulatedTeacher("broken", 2, 0.5, failure="invalid")
    outcome = simulate_scan([broken, *teachers(4.0)], Conditions(machines=1))
    assert (outcome.failed, outcome.makespan) == (1, pytest.approx(4.5))


def test_a_store_that_all_share_bounds_the_scan() -> None:
    # 8,000 bytes at 100 a second together, however many read at a time; no work besides.
    jobs = [SimulatedTeacher(f"t{number}", 1000, 0.0) for number in range(8)]
    outcome = simulate_scan(jobs, Conditions(machines=8, store=100.0))
    assert outcome.store_bound == pytest.approx(80.0)
    assert outcome.makespan == pytest.approx(80.0)
    alone = simulate_scan(jobs, Conditions(machines=8, download=100.0, latency=2.0))
    assert alone.makespan == pytest.approx(12.0)


def test_the_driver_writes_down_one_result_after_another() -> None:
    seconds = [1.0] * 100
    assert scan(*seconds, machines=100, driver=0.5).makespan == pytest.approx(51.0)
    assert scan(*seconds, machines=100, write=0.5).makespan == pytest.approx(51.0)
    several = scan(*seconds, machines=100, write=0.5, writers=25)
    assert several.makespan == pytest.approx(3.0)


def test_slow_machines_take_longer() -> None:
    assert scan(2.0, 2.0, slow_share=1.0, slow_factor=3.0).makespan == pytest.approx(12.0)


def test_no_machine_stays_for_what_others_do() -> None:
    """One long teacher: the machine that is done at once leaves after its idle time."""
    outcome = scan(1000.0, 10.0, machines=2, idle=100.0)
    assert outcome.machine_hours == pytest.approx((1000.0 + 100.0 + 10.0 + 100.0) / 3600)
