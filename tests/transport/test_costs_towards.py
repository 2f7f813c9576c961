"""What a learned cost shrinks towards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from rayxkd.transport import (
    CooccurrenceCost,
    CrossFittedCost,
    GroundCost,
    LearnedCost,
    Predictions,
    PrototypeCost,
    stratified_folds,
)
from rayxkd.transport.costs import CallableCost, MatrixCost, MixedCost, SemanticCost, span
from tests.transport.test_costs import held_out_loss, learned_objective


def headless(iris: tuple[Predictions, Tensor]) -> tuple[Predictions, Tensor]:
    """Fewer images of one class than of others, and prototypes that depend on the temperature."""
    predictions, labels_N = iris
    rows = torch.arange(20, 150)
    return Predictions(predictions.logits_NK, predictions.features_ND).rows(rows), labels_N[rows]


def soft_prototypes(p: np.ndarray, features: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The prototype cost of a teacher without a head, in loops."""
    teacher = [sum(p[i, k] * features[i] for i in range(len(y))) / p[:, k].sum() for k in range(3)]
    target = [features[y == m].mean(axis=0) for m in range(3)]
    teacher, target = teacher - np.mean(teacher, axis=0), target - np.mean(target, axis=0)
    return np.array(
        [[1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in target] for a in teacher]
    )


def in_nats(cost: np.ndarray, p: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """The documented C0 of a cost in another unit, in loops."""
    classes = cost.shape[1]
    mean = p.mean(axis=0)
    cost = np.array([row - row.mean() for row in cost])
    for m in range(classes):
        cost[:, m] -= sum(mean[k] * cost[k, m] for k in range(len(cost)))
    spread = np.sqrt(np.mean([(row @ cost) ** 2 for row in p - mean]))
    share = np.array([((y == m).sum() + 1 / classes) / (len(y) + 1) for m in range(classes)])
    return scale * cost / spread - np.log(share)


def mapped(predictions: Predictions, cost_KM: Tensor, temperature: float) -> Tensor:
    """softmax_m(-c_im): all that a learned cost says of images."""
    return torch.softmax(-predictions.probabilities_NK(temperature) @ cost_KM, dim=1)


def test_it_minimises_its_objective_around_another_cost(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = headless(iris)
    temperature, ridge, scale = 4.0, 0.5, 2.0
    cost = LearnedCost((temperature,), (ridge,), towards=PrototypeCost(), scales=(scale,))
    fitted = cost.fit(predictions, labels_N, 3)
    p, y = predictions.probabilities_NK(temperature).numpy(), labels_N.numpy()
    assert predictions.features_ND is not None
    prior = in_nats(soft_prototypes(p, predictions.features_ND.numpy(), y), p, y, scale)
    best = minimize(
        learned_objective, np.zeros(9), (p, y, prior, ridge), "BFGS", options={"gtol": 1e-7}
    )
    mean, change = p.mean(axis=0), best.x.reshape(3, 3)
    size = np.sqrt(((p - mean) ** 2).sum(axis=1).mean())
    expected = torch.from_numpy(prior + (change - mean @ change) / size)
    torch.testing.assert_close(
        mapped(predictions, fitted.cost_KM, temperature),
        mapped(predictions, expected, temperature),
        rtol=0,
        atol=1e-5,
    )


def test_a_large_ridge_leaves_the_other_cost(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = headless(iris)
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    cost = LearnedCost((2.0,), (1e12,), towards=MatrixCost(matrix), scales=(1.5,))
    p = predictions.probabilities_NK(2.0).numpy()
    expected = in_nats(matrix, p, labels_N.numpy(), 1.5)
    torch.testing.assert_close(
        cost.fit(predictions, labels_N, 3).cost_KM, torch.from_numpy(expected), rtol=0, atol=1e-8
    )
    # The mean image is given the class shares.
    at_mean = torch.softmax(-torch.from_numpy(p.mean(axis=0) @ expected), dim=0)
    counts = torch.bincount(labels_N) + 1 / 3
    torch.testing.assert_close(at_mean, counts.double() / counts.sum(), rtol=1e-6, atol=0)


def test_towards_cooccurrence_is_the_default(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    default = LearnedCost(shrinkage=3.0).cross_fit(predictions, labels_N, 3, fold_N)
    # In nats: taken as it is, at the candidate's temperature and not at its own.
    named = LearnedCost(towards=CooccurrenceCost(temperature=99.0, shrinkage=3.0))
    found = named.cross_fit(predictions, labels_N, 3, fold_N)
    for one, other in zip(default.costs, found.costs, strict=True):
        assert torch.equal(one.cost_KM, other.cost_KM)
        assert one.temperature == other.temperature


def test_unit_and_constants_of_the_other_cost_do_not_matter(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = headless(iris)
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(3, 3))
    other = 1e3 * matrix + rng.normal(size=(3, 1)) * 50 + rng.normal(size=3) * 50
    fitted = [
        LearnedCost(towards=MatrixCost(m), scales=(1.0,)).fit(predictions, labels_N, 3)
        for m in (matrix, other)
    ]
    assert fitted[0].temperature == fitted[1].temperature
    torch.testing.assert_close(
        *(mapped(predictions, one.cost_KM, one.temperature) for one in fitted), rtol=0, atol=1e-6
    )


def mean_logits(predictions: Predictions, labels_N: Tensor, num_classes: int) -> Tensor:
    rows = [predictions.logits_NK[labels_N == m].mean(dim=0) for m in range(num_classes)]
    return -torch.stack(rows, dim=1)


@pytest.mark.parametrize(
    "towards",
    [
        PrototypeCost(),
        CallableCost(mean_logits),
        MixedCost((CooccurrenceCost(), PrototypeCost()), (0.5, 0.5)),
    ],
    ids=lambda cost: cost.name,
)
@pytest.mark.parametrize("ridge", [0.5, 1e12])
def test_neither_the_cost_nor_its_prior_sees_its_own_fold(
    towards: GroundCost, ridge: float, iris: tuple[Predictions, Tensor]
) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    # The class shares change too: C0 holds them.
    changed_N = torch.where(fold_N == 0, 0, labels_N)
    cost = LearnedCost((4.0,), (ridge,), towards=towards, scales=(2.0,))
    before, after = (cost.cross_fit(predictions, y, 3, fold_N).costs for y in (labels_N, changed_N))
    torch.testing.assert_close(before[0].cost_KM, after[0].cost_KM, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before[1].cost_KM, after[1].cost_KM, atol=1e-3)


def few_images() -> tuple[Predictions, Tensor, Predictions, Tensor, np.ndarray]:
    """A teacher of 60 classes, each a kind of one of 3 targets: 9 images to learn from, and 300."""
    rng = np.random.default_rng(0)
    kind_K = np.arange(60) % 3

    def draw(images: int) -> tuple[Predictions, Tensor]:
        labels = np.arange(images) % 3
        classes = rng.integers(20, size=images) * 3 + labels
        logits = rng.normal(size=(images, 60))
        logits[np.arange(images), classes] += 4.0
        return Predictions(torch.from_numpy(logits)), torch.from_numpy(labels)

    true_KM = 1.0 - np.eye(3)[kind_K]
    return *draw(9), *draw(300), true_KM


def test_a_right_prior_helps_where_labels_are_few_and_a_wrong_one_is_dropped() -> None:
    small, small_N, large, large_N, true_KM = few_images()
    nothing_N = torch.zeros_like(large_N)

    def loss(cost: LearnedCost) -> float:
        fitted = cost.fit(small, small_N, 3)
        return held_out_loss(large, large_N, (fitted,), nothing_N)

    default, right = loss(LearnedCost()), loss(LearnedCost(towards=MatrixCost(true_KM)))
    assert right < 0.8 * default
    assert default < 1.5 * np.log(3)
    # Learnt from many images, a prior of noise must not cost anything.
    fold_N = stratified_folds(large_N)
    noise = np.random.default_rng(9).normal(size=(60, 3))
    losses = [
        cross_fitted_loss(large, large_N, cost.cross_fit(large, large_N, 3, fold_N))
        for cost in (
            LearnedCost(towards=MatrixCost(noise)),
            LearnedCost(towards=MatrixCost(noise), scales=(0.0,)),
            LearnedCost(towards=MatrixCost(noise), scales=(3.0,)),
        )
    ]
    assert losses[0] <= losses[1] + 1e-6
    assert losses[2] > losses[1] + 0.01


def cross_fitted_loss(predictions: Predictions, labels_N: Tensor, fitted: CrossFittedCost) -> float:
    return held_out_loss(predictions, labels_N, fitted.costs, fitted.fold_N)


def test_names_reach_the_learned_cost() -> None:
    small, small_N, _, _, true_KM = few_images()
    vectors = {f"kind {m}": np.eye(3)[m] for m in range(3)}
    names = tuple(f"kind {k % 3}" for k in range(60))
    named = Predictions(small.logits_NK, class_names=names)
    by_name = LearnedCost(towards=SemanticCost(("kind 0", "kind 1", "kind 2"), vectors))
    by_matrix = LearnedCost(towards=MatrixCost(true_KM))
    assert torch.equal(
        by_name.fit(named, small_N, 3).cost_KM, by_matrix.fit(small, small_N, 3).cost_KM
    )


def test_permuted_teacher_classes_permute_the_rows(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = headless(iris)
    order = torch.tensor([2, 0, 1])
    permuted = Predictions(predictions.logits_NK[:, order], predictions.features_ND)
    cost = LearnedCost(towards=PrototypeCost())
    torch.testing.assert_close(
        cost.fit(permuted, labels_N, 3).cost_KM,
        cost.fit(predictions, labels_N, 3).cost_KM[order],
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_prior_that_tells_no_images_apart(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = headless(iris)
    flat = MatrixCost(np.tile([0.1, 0.7, -3.3], (3, 1)))
    nothing = MatrixCost(np.zeros((3, 3)))
    costs = [
        LearnedCost(towards=towards).fit(predictions, labels_N, 3) for towards in (flat, nothing)
    ]
    assert torch.isfinite(costs[0].cost_KM).all()
    torch.testing.assert_close(costs[0].cost_KM, costs[1].cost_KM)


@pytest.mark.parametrize("towards", [None, PrototypeCost()])
def test_batches_do_not_change_the_result(
    towards: GroundCost | None,
    iris: tuple[Predictions, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    results = []
    for batch in (1, 20, 10**9):
        monkeypatch.setattr(span, "_BATCH", batch)
        fitted = LearnedCost(towards=towards).cross_fit(predictions, labels_N, 3, fold_N)
        results.append(torch.stack([cost.cost_KM for cost in fitted.costs]))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-7)
