from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from scipy import stats
from torch import Tensor

from rayxkd.transport import (
    GROUND_COSTS,
    Predictions,
    ground_cost,
    score_transport,
    stratified_folds,
)


def one_hot(labels_N: Tensor, num_classes: int = 3) -> Tensor:
    return torch.nn.functional.one_hot(labels_N, num_classes).double()


def test_the_learned_score_is_a_negative_log_likelihood(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    fitted = ground_cost("learned").cross_fit(predictions, labels_N, 3, fold_N)
    score = score_transport(predictions, one_hot(labels_N), fitted)
    for image in range(0, len(labels_N), 17):
        cost = fitted.costs[int(fold_N[image])]
        p = predictions.probabilities_NK(cost.temperature)[image]
        log_p = torch.log_softmax(-(p @ cost.cost_KM), dim=0)
        assert float(score.cost_N[image]) == pytest.approx(-float(log_p[labels_N[image]]))


def test_the_score_is_the_exact_transport_cost_of_each_fold(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    fitted = ground_cost("prototype").cross_fit(predictions, labels_N, 3, fold_N)
    student_NM = torch.softmax(predictions.embeddings_ND[:, :3], dim=1)
    score = score_transport(predictions, student_NM, fitted)
    for image in range(0, len(labels_N), 29):
        cost = fitted.costs[int(fold_N[image])]
        p = predictions.probabilities_NK(cost.temperature)[image].numpy()
        expected = ot.emd2(p, student_NM[image].numpy(), cost.cost_KM.numpy())
        assert float(score.cost_N[image]) == pytest.approx(expected, rel=1e-9)


def test_relative_cost_is_over_the_independent_coupling(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    one_fold = torch.zeros(len(labels_N), dtype=torch.int64)
    cost = ground_cost("prototype")
    from rayxkd.transport import CrossFittedCost

    fitted = CrossFittedCost(one_fold, (cost.fit(predictions, labels_N, 3),))
    score = score_transport(predictions, one_hot(labels_N), fitted)
    p, cost_KM = predictions.probabilities_NK(), fitted.costs[0].cost_KM
    independent = float(p.mean(dim=0) @ cost_KM @ one_hot(labels_N).mean(dim=0))
    assert score.independent_cost == pytest.approx(independent, rel=1e-12)
    assert score.relative_cost == pytest.approx(score.cost / independent, rel=1e-12)


@pytest.mark.parametrize("name", ["learned", "cooccurrence"])
def test_an_unrelated_teacher_has_a_relative_cost_of_one(name: str) -> None:
    labels_N = torch.arange(300) % 3
    rng = np.random.default_rng(0)
    unrelated = Predictions(torch.from_numpy(rng.normal(size=(300, 6))))
    fitted = ground_cost(name).cross_fit(unrelated, labels_N, 3, stratified_folds(labels_N))
    score = score_transport(unrelated, one_hot(labels_N), fitted)
    assert score.relative_cost == pytest.approx(1.0, abs=0.03)
    assert score.cost == pytest.approx(math.log(3), abs=0.05)


@pytest.mark.parametrize("name", sorted(GROUND_COSTS))
def test_a_better_teacher_costs_less(name: str) -> None:
    """Teachers that see the class through more and more noise are ranked in that order."""
    rng = np.random.default_rng(1)
    labels_N = torch.arange(200) % 4
    centres = rng.normal(size=(4, 12)) * 3
    costs = []
    for noise in (0.5, 4.0, 30.0):
        logits = centres[labels_N.numpy()] + rng.normal(size=(200, 12)) * noise
        teacher = Predictions(torch.from_numpy(logits))
        fitted = ground_cost(name).cross_fit(teacher, labels_N, 4, stratified_folds(labels_N))
        costs.append(score_transport(teacher, one_hot(labels_N, 4), fitted).cost)
    assert costs == sorted(costs)


def test_the_interval_is_that_of_a_bootstrap_of_the_mean(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    fitted = ground_cost("learned").cross_fit(predictions, labels_N, 3, stratified_folds(labels_N))
    score = score_transport(predictions, one_hot(labels_N), fitted)
    low, high = score.interval(seed=5)
    assert low < score.cost < high
    assert (low, high) == score.interval(seed=5)
    assert (low, high) != score.interval(seed=6)
    # For a mean the percentile interval is close to the normal one.
    width = 2 * 1.96 * float(score.cost_N.std()) / math.sqrt(len(labels_N))
    assert high - low == pytest.approx(width, rel=0.15)
    drawn = stats.bootstrap(
        (score.cost_N.numpy(),),
        np.mean,
        n_resamples=1000,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert (low, high) == pytest.approx(drawn, rel=1e-12)


def test_equal_costs_have_an_interval_of_no_width() -> None:
    labels_N = torch.arange(20) % 2
    constant = Predictions(torch.zeros(20, 3))
    fitted = ground_cost("cooccurrence").cross_fit(
        constant, labels_N, 2, stratified_folds(labels_N)
    )
    score = score_transport(constant, one_hot(labels_N, 2), fitted)
    low, high = score.interval()
    assert low <= score.cost <= high
