"""Which images come when: by the seed and the epoch alone, and every image in every epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayxkd.distill.plan import EpochPlan

PLAN = EpochPlan(
    labelled=40, unlabelled=200, batch_size=16, labelled_share=0.25, epoch_images=64, seed=3
)
ALONE = replace(PLAN, unlabelled=0)


def epoch(plan: EpochPlan, number: int = 0) -> np.ndarray:
    """[steps, batch_size]."""
    return np.stack(list(plan.batches(number)))


PLANS = st.builds(
    EpochPlan,
    labelled=st.integers(1, 60),
    unlabelled=st.integers(0, 60),
    batch_size=st.integers(2, 20),
    labelled_share=st.floats(0.01, 1.0),
    epoch_images=st.integers(1, 100),
    seed=st.integers(0, 100),
)


def test_the_seed_and_the_epoch_decide() -> None:
    assert (epoch(PLAN, 5) == epoch(replace(PLAN), 5)).all()
    assert (epoch(PLAN, 5) != epoch(PLAN, 6)).any()
    assert (epoch(PLAN, 5) != epoch(replace(PLAN, seed=4), 5)).any()


def test_an_epoch_does_not_depend_on_those_before() -> None:
    list(PLAN.batches(0))
    expected = epoch(PLAN, 7)
    for number in range(7):
        list(PLAN.batches(number))
    assert (epoch(PLAN, 7) == expected).all()


@given(PLANS)
def test_batches_are_full_and_their_places_exist(plan: EpochPlan) -> None:
    found = epoch(plan)
    assert found.shape == (plan.steps, plan.batch_size)
    assert found.dtype == np.int64
    assert found.min() >= 0
    assert found.max() < plan.labelled + plan.unlabelled


@given(PLANS)
def test_labelled_images_come_first_and_each_batch_has_some(plan: EpochPlan) -> None:
    labelled = epoch(plan) < plan.labelled
    assert labelled[:, 0].all()
    assert (np.diff(labelled.astype(int), axis=1) <= 0).all()
    if plan.unlabelled:
        assert not labelled[:, -1].any()
    else:
        assert labelled.all()


@pytest.mark.parametrize(("share", "count"), [(0.25, 4), (0.5, 8), (0.01, 1), (1.0, 15)])
def test_the_share_of_labelled_images(share: float, count: int) -> None:
    labelled = epoch(replace(PLAN, labelled_share=share)) < PLAN.labelled
    assert (labelled.sum(axis=1) == count).all()


def test_an_epoch_sees_every_labelled_image() -> None:
    assert set(epoch(ALONE).ravel()) == set(range(40))
    assert ALONE.steps == 4
    assert set(epoch(PLAN).ravel()) >= set(range(40))


def test_the_epochs_together_see_every_image() -> None:
    """Labelled images are seen more often than others, so one epoch need not see all of those."""
    assert PLAN.steps == 15
    seen = set(np.concatenate([epoch(PLAN, number).ravel() for number in range(4)]))
    assert seen == set(range(240))


def test_images_come_equally_often() -> None:
    few = replace(ALONE, epoch_images=400)
    counts = np.bincount(epoch(few).ravel())
    assert counts.min() == counts.max() == 10


def test_small_sets_are_repeated_and_large_ones_are_not_cut() -> None:
    assert replace(ALONE, epoch_images=1_000).steps == 63
    assert replace(ALONE, labelled=5_000, epoch_images=64).steps == 313


def test_ranks_share_a_batch_without_overlap() -> None:
    """As the loop cuts it: every worker gets its part of the labelled images too."""
    for places in PLAN.batches(0):
        parts = [places[rank::3] for rank in range(3)]
        assert sorted(np.concatenate(parts)) == sorted(places)
        assert all((part < PLAN.labelled).any() for part in parts)


def test_purposes_have_chance_of_their_own() -> None:
    first, second, later = (PLAN.rng(*which).random(4) for which in ((0, 1), (0, 2), (1, 1)))
    assert (first != second).any()
    assert (first != later).any()
    assert (PLAN.rng(0, 1).random(4) == first).all()
