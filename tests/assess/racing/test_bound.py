"""The intervals cover what they are to cover: on made-up costs and on those of real teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from rayxkd.assess.racing.bound import (
    COARSE_FOLDS,
    GAIN,
    WIDEN,
    chance_of_a_best,
    quantile,
    standing,
    values,
)
from rayxkd.assess.racing.heat import image_costs, judge
from rayxkd.assess.racing.order import race_order
from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.teachers import ProbePixels, load_teacher, open_repositories, predict
from rayxkd.transport import LearnedCost, Predictions
from rayxkd.transport.costs.base import one_hot_NM


def skewed_costs(generator: np.random.Generator, teachers: int, images: int) -> np.ndarray:
    """Costs like those of teachers: never negative, skewed, and alike on hard images."""
    hard_N = generator.gamma(1.5, 0.5, images)
    own_TN = generator.gamma(1.0, 0.3, (teachers, images))
    return hard_N + own_TN + np.linspace(0, 0.5, teachers)[:, None]


def test_a_paired_interval_covers_the_gap_of_all_images() -> None:
    generator = np.random.default_rng(0)
    seen, images, covered, narrower = 80, 400, [], []
    for _ in range(1500):
        cost_TN = skewed_costs(generator, 2, images)
        part = generator.choice(images, seen, replace=False)
        now = standing(cost_TN[:, part], 1, images)
        leader, other = now.leaders_L[0], 1 - now.leaders_L[0]
        gap = cost_TN[other].mean() - cost_TN[leader].mean()
        deviation = now.deviation_T[other] / WIDEN  # these costs are fitted to nothing
        wide = stats.t.isf(0.025, seen - 1) * deviation
        covered.append(abs(gap - now.gap_T[other]) <= wide)
        plain = np.hypot(*cost_TN[:, part].std(axis=1, ddof=1)) / np.sqrt(seen)
        narrower.append(deviation < plain)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(narrower) > 0.95


def test_intervals_alone_rarely_put_the_best_out() -> None:
    generator = np.random.default_rng(1)
    teachers, images, parts, error = 12, 300, (60, 120), 0.2
    wrong = 0
    for _ in range(400):
        cost_TN = skewed_costs(generator, teachers, images)
        best = cost_TN.mean(axis=1).argmin()
        order = generator.permutation(images)
        alive = np.arange(teachers)
        for seen in parts:
            now = standing(cost_TN[alive][:, order[:seen]], 1, images)
            out = now.ratio_T > quantile(error, teachers, 1, len(parts), seen)
            wrong += best in alive[out]
            alive = alive[~out]
    assert wrong / 400 <= error


def test_a_teacher_is_compared_with_each_of_the_best() -> None:
    generator = np.random.default_rng(2)
    cost_TP = skewed_costs(generator, 5, 50)
    now = standing(cost_TP, 2, 200)
    ratios = []
    for leader in now.leaders_L:
        difference = cost_TP[4] - cost_TP[leader]
        error = WIDEN * difference.std(ddof=1) * np.sqrt(1 / 50 - 1 / 200)
        ratios.append(difference.mean() / error)
    assert now.ratio_T[4] == pytest.approx(min(ratios))
    assert (now.ratio_T[now.leaders_L] <= 0).all()
    assert quantile(0.05, 100, 2, 3, 50) > quantile(0.05, 10, 1, 3, 50) > stats.norm.isf(0.05)
    # Far in the tail, too, where one less the probability would be one.
    assert quantile(1e-18, 2, 1, 1, 9) == pytest.approx(stats.t.isf(1e-18, 8), rel=1e-9)


def test_copies_of_a_teacher_are_never_surely_worse() -> None:
    cost_P = np.random.default_rng(3).gamma(1.0, 1.0, 40)
    now = standing(np.stack([cost_P, cost_P, cost_P + 1]), 1, 100)
    assert now.ratio_T[:2].tolist() == [0.0, 0.0]
    assert now.ratio_T[2] > 1e9  # worse by the same on every image


def test_values_follow_the_learning_curve() -> None:
    images, seen = 500, 100
    limit, fall = 1.0, np.array([[20.0], [5.0]])
    cost_TP = np.broadcast_to(limit + fall / (0.8 * seen), (2, seen))
    coarse_TP = np.broadcast_to(limit + fall / (0.5 * seen), (2, seen))
    target_T1 = limit + fall / (0.8 * images)
    value_TP = values(cost_TP, coarse_TP, images)
    # A gain of 5/3 would hit it; the one chosen goes most of the way, and never past it.
    assert (np.abs(value_TP - target_T1) < 0.5 * np.abs(cost_TP - target_T1)).all()
    assert (value_TP > target_T1).all()
    whole = values(cost_TP, coarse_TP, seen)
    assert (whole == cost_TP).all(), "on all images the value is the cost"
    assert GAIN <= 5 / 3


def test_the_chance_of_a_best_is_that_of_the_normal_tail() -> None:
    generator = np.random.default_rng(4)
    seen, images = 100, 400
    cost_TP = generator.normal(size=(2, seen))
    cost_TP -= cost_TP.mean(axis=1, keepdims=True)
    cost_TP[1] += 0.15
    now = standing(cost_TP, 1, images)
    expected = stats.norm.sf(now.ratio_T[1])
    found = chance_of_a_best(cost_TP[:1], cost_TP[1:], 1, images)
    assert found == pytest.approx(expected, abs=0.03)
    assert 0.05 < expected < 0.45
    assert chance_of_a_best(cost_TP, cost_TP[:0], 1, images) == 0
    assert chance_of_a_best(cost_TP[:1], cost_TP[1:], 1, seen) == 0, "all is known"


@pytest.fixture(scope="module")
def digits(trained_digits: Path) -> tuple[list[Predictions], torch.Tensor]:
    """What four trained teachers say of the demo's probe set."""
    probe = sample_probe_set(open_image_set("demo://"))
    repository = open_repositories([str(trained_digits)])[0]
    said = []
    for card in repository.cards():
        with repository.weights(card) as weights:  # type: ignore[arg-type]
            teacher = load_teacher(card, weights, torch.device("cpu"))  # type: ignore[arg-type]
        said.append(predict(teacher, ProbePixels(probe)))
    return said, torch.from_numpy(np.array(probe.labels_N))


def test_intervals_cover_the_gaps_of_real_teachers(
    digits: tuple[list[Predictions], torch.Tensor],
) -> None:
    """Of costs that are fitted anew to a part of the images, and then to all of them."""
    said, labels_N = digits
    cost, classes, images = LearnedCost(), int(labels_N.max()) + 1, len(labels_N)
    target_NM = one_hot_NM(labels_N, classes)
    final_T = np.array([image_costs(cost, p, labels_N, target_NM, folds=5).mean() for p in said])
    covered = []
    for seed in range(12):
        part = torch.from_numpy(np.sort(race_order(labels_N.numpy(), seed)[:50]))
        heats = [judge(cost, p.rows(part), labels_N[part], target_NM[part]) for p in said]
        cost_TP, coarse_TP = (
            np.stack(rows)
            for rows in zip(*((heat.cost_P, heat.coarse_P) for heat in heats), strict=True)
        )
        now = standing(values(cost_TP, coarse_TP, images), 1, images)
        leader = now.leaders_L[0]
        wide_T = stats.t.isf(0.025, 49) * now.deviation_T
        inside_T = np.abs(final_T - final_T[leader] - now.gap_T) <= wide_T
        covered += np.delete(inside_T, leader).tolist()
    assert np.mean(covered) >= 0.9


def test_a_cost_that_is_fitted_to_less_is_higher(
    digits: tuple[list[Predictions], torch.Tensor],
) -> None:
    said, labels_N = digits
    target_NM = one_hot_NM(labels_N, int(labels_N.max()) + 1)
    coarse, fine = (
        np.mean([image_costs(LearnedCost(), p, labels_N, target_NM, folds=f) for p in said])
        for f in (COARSE_FOLDS, 10)
    )
    assert coarse > fine
