"""Races on costs that are known: budgets are kept, and every teacher ends in one place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.assess.racing.order import race_order
from rayxkd.assess.racing.plan import Plan
from rayxkd.assess.racing.race import Elimination, Heat, Race
from rayxkd.errors import UserError

IMAGES, CLASSES = 200, 4


def costs(teachers: int, spread: float, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    hard_N = generator.gamma(1.5, 0.5, IMAGES)
    means = generator.uniform(0, spread, teachers)
    return {
        f"t{number:02}": hard_N + mean + generator.gamma(1.0, 0.3, IMAGES)
        for number, mean in enumerate(means)
    }


def run(
    race: Race, known: dict[str, np.ndarray], fails: dict[str, int] | None = None
) -> list[Elimination]:
    """Race to the end; ``fails`` says in which round a teacher fails."""
    found: list[Elimination] = []
    number = 0
    while not race.is_over:
        seen = race.images
        heats = {
            name: Heat(known[name][:seen], known[name][:seen])
            for name in race.contenders
            if (fails or {}).get(name) != number
        }
        found += race.close(heats)
        number += 1
    return found


@settings(max_examples=150, deadline=None)
@given(
    teachers=st.integers(2, 40),
    keep=st.integers(1, 5),
    share=st.floats(0.05, 1.2),
    spread=st.sampled_from([0.0, 0.2, 3.0]),
    seed=st.integers(0, 1000),
    failing=st.integers(0, 3),
)
def test_no_budget_is_exceeded_and_every_teacher_ends_once(
    *, teachers: int, keep: int, share: float, spread: float, seed: int, failing: int
) -> None:
    known = costs(teachers, spread, seed)
    budget = int(share * teachers * IMAGES)
    try:
        plan = Plan.of(teachers, IMAGES, CLASSES, budget, keep)
    except UserError:
        least = 2 * CLASSES
        kept = min(keep, teachers)
        assert budget < kept * IMAGES + (teachers - kept) * least
        return
    assert list(plan.parts) == sorted(set(plan.parts))
    assert plan.parts[-1] == IMAGES
    names = list(known)
    fails = {name: seed % len(plan.parts) for name in names[:failing]}
    race = Race(plan, names)
    out = [elimination.teacher for elimination in run(race, known, fails)]
    assert race.account.spent <= budget
    assert race.account.by_interval + race.account.by_rank == len(out) == len(set(out))
    assert not set(out) & set(race.contenders)
    failed = set(names) - set(out) - set(race.contenders)
    assert failed <= set(fails)
    if not any(fails.values()):  # who fails later may have put others out before
        assert len(race.contenders) >= min(keep, teachers - len(fails))
    assert 0 <= race.account.claimed_error <= 1


def test_a_clear_best_is_found_by_intervals_alone() -> None:
    known = costs(30, 3.0, 7)
    race = Race(Plan.of(30, IMAGES, CLASSES, None, 1), list(known))
    found = run(race, known)
    best = min(known, key=lambda name: known[name].mean())
    assert best in race.contenders
    assert race.account.by_rank == 0
    assert race.account.missed == 0
    assert 0 < race.account.error <= 0.05
    assert race.account.share < 0.35
    assert {elimination.by_interval for elimination in found} == {True}
    assert "stopped in round 1 of 4, on 25 of 200 images" in found[0].reason
    assert "for sure" in found[0].reason


def test_a_budget_too_small_to_be_sure_says_so() -> None:
    known = costs(30, 0.05, 8)  # nobody is surely worse than anybody
    race = Race(Plan.of(30, IMAGES, CLASSES, int(0.3 * 30 * IMAGES), 1), list(known))
    found = run(race, known)
    assert race.account.by_rank > 20
    assert race.account.claimed_error > 0.1
    assert any("the budget lets" in elimination.reason for elimination in found)
    assert race.account.spent <= 0.3 * 30 * IMAGES


def test_the_claimed_error_holds() -> None:
    """Over many races of close teachers, as many are lost as the races say, or fewer."""
    missed, claimed = 0, 0.0
    for seed in range(150):
        known = costs(20, 0.3, seed)
        race = Race(Plan.of(20, IMAGES, CLASSES, int(0.3 * 20 * IMAGES), 1), list(known))
        run(race, known)
        missed += min(known, key=lambda name: known[name].mean()) not in race.contenders
        claimed += race.account.claimed_error
    assert 0 < missed <= claimed


def test_with_a_budget_for_all_nobody_is_stopped() -> None:
    known = costs(5, 3.0, 9)
    race = Race(Plan.of(5, IMAGES, CLASSES, 5 * IMAGES, 1), list(known))
    assert run(race, known) == []
    assert race.contenders == list(known)
    assert race.account.share == 1


def test_the_best_few_are_seen_through() -> None:
    known = costs(30, 3.0, 10)
    race = Race(Plan.of(30, IMAGES, CLASSES, int(0.5 * 30 * IMAGES), 4), list(known))
    run(race, known)
    best = sorted(known, key=lambda name: known[name].mean())[:4]
    assert set(best) <= set(race.contenders)


def test_a_limit_that_is_set_in_the_race_is_kept() -> None:
    known = costs(30, 0.05, 11)
    race = Race(Plan.of(30, IMAGES, CLASSES, None, 1), list(known))
    race.limit(500)
    run(race, known)
    assert 30 * 25 + 175 <= race.account.spent <= 30 * 25 + 500
    assert race.account.by_rank > 0


def test_a_limit_always_does_for_the_best() -> None:
    known = costs(30, 0.05, 11)
    race = Race(Plan.of(30, IMAGES, CLASSES, None, 2), list(known))
    race.limit(0)
    run(race, known)
    assert len(race.contenders) == 2
    assert race.account.spent == 30 * 25 + 2 * 175


def test_a_budget_below_the_least_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs 432 \(8 for each, all 200 for the best 1\)"):
        Plan.of(30, IMAGES, CLASSES, 431, 1)
    assert Plan.of(30, IMAGES, CLASSES, 432, 1).parts[0] == 8


@pytest.mark.parametrize("seed", range(5))
def test_every_part_is_stratified(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(5, 300, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    order = race_order(labels, seed)
    assert sorted(order.tolist()) == list(range(300))
    assert (np.bincount(labels[order[:10]], minlength=5) == 2).all()
    share = np.bincount(labels) / 300
    for part in (60, 100, 200):
        count = np.bincount(labels[order[:part]], minlength=5)
        assert (np.abs(count - share * part) <= 3).all()
    assert not np.array_equal(order, race_order(labels, seed + 1))
