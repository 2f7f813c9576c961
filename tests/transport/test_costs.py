from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from rayxkd.errors import UserError
from rayxkd.transport import (
    GROUND_COSTS,
    CooccurrenceCost,
    LearnedCost,
    Predictions,
    PrototypeCost,
    ground_cost,
    stratified_folds,
)


def test_cooccurrence_is_the_shrunk_conditional(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fitted = CooccurrenceCost(temperature=2.0, shrinkage=3.0).fit(predictions, labels_N, 3)
    p = predictions.probabilities_NK(2.0).numpy()
    y = labels_N.numpy()
    for k in range(p.shape[1]):
        for m in range(3):
            joint = sum(p[i, k] for i in range(len(y)) if y[i] == m)
            conditional = (joint + 3.0 * (y == m).mean()) / (p[:, k].sum() + 3.0)
            assert fitted.cost_KM[k, m] == pytest.approx(-np.log(conditional), abs=1e-12)


def test_cooccurrence_map_is_leeps_predictor(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fitted = CooccurrenceCost(shrinkage=0.0).fit(predictions, labels_N, 3)
    p_NK = predictions.probabilities_NK()
    # The entropic map at epsilon 1 with a free target marginal: p_ik exp(-C[k, m]).
    predictor_NM = p_NK @ torch.exp(-fitted.cost_KM)
    leep = predictor_NM.gather(1, labels_N[:, None]).log().mean()
    y, p = labels_N.numpy(), p_NK.numpy()
    joint = np.stack([p[y == m].sum(axis=0) for m in range(3)]) / len(y)
    expected = np.mean(np.log((joint / joint.sum(axis=0))[y] @ p.T).diagonal())
    assert float(leep) == pytest.approx(expected, abs=1e-12)


def test_prototype_with_a_linear_head(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    assert predictions.head_KD is not None
    cost_KM = PrototypeCost().fit(predictions, labels_N, 3).cost_KM
    means = np.stack([predictions.embeddings_ND[labels_N == m].mean(dim=0) for m in range(3)])
    means = means - means.mean(axis=0)
    rows = predictions.head_KD.numpy() - predictions.head_KD.numpy().mean(axis=0)
    for k in range(len(rows)):
        for m in range(3):
            cosine = rows[k] @ means[m] / np.linalg.norm(rows[k]) / np.linalg.norm(means[m])
            assert cost_KM[k, m] == pytest.approx(1 - cosine, abs=1e-12)


def test_prototype_without_a_head_takes_soft_centroids(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    bare = Predictions(predictions.logits_NK, predictions.features_ND)
    p, phi = bare.probabilities_NK().numpy(), bare.embeddings_ND.numpy()
    centroids = (p.T @ phi) / p.sum(axis=0)[:, None]
    with_head = Predictions(bare.logits_NK, bare.features_ND, torch.from_numpy(centroids))
    torch.testing.assert_close(
        PrototypeCost().fit(bare, labels_N, 3).cost_KM,
        PrototypeCost().fit(with_head, labels_N, 3).cost_KM,
    )


def test_prototype_of_a_teacher_without_features_uses_its_logits(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    bare = Predictions(predictions.logits_NK)
    copied = Predictions(predictions.logits_NK, predictions.logits_NK)
    torch.testing.assert_close(
        PrototypeCost().fit(bare, labels_N, 3).cost_KM,
        PrototypeCost().fit(copied, labels_N, 3).cost_KM,
    )


def learned_objective(
    flat: np.ndarray, p: np.ndarray, y: np.ndarray, prior: np.ndarray, ridge: float
) -> float:
    """The documented objective in D, written down without any of its shortcuts."""
    change = flat.reshape(prior.shape)
    mean = p.mean(axis=0)
    scale = np.sqrt(((p - mean) ** 2).sum(axis=1).mean())
    cost = prior + (change - mean @ change) / scale
    expected = p @ cost
    loss = expected[np.arange(len(y)), y] + logsumexp(-expected, axis=1)
    return float(loss.sum() + ridge / 2 * (change**2).sum())


def test_learned_minimises_its_objective(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    temperature, ridge = 4.0, 0.5
    settings = LearnedCost(temperatures=(temperature,), ridges=(ridge,))
    fitted = settings.fit(predictions, labels_N, 3)
    p = predictions.probabilities_NK(temperature).numpy()
    prior = CooccurrenceCost(temperature).fit(predictions, labels_N, 3).cost_KM.numpy()
    arguments = (p, labels_N.numpy(), prior, ridge)
    best = minimize(
        learned_objective, np.zeros(prior.size), arguments, "BFGS", options={"gtol": 1e-7}
    )
    mean, change = p.mean(axis=0), best.x.reshape(prior.shape)
    scale = np.sqrt(((p - mean) ** 2).sum(axis=1).mean())
    expected = prior + (change - mean @ change) / scale
    # The loss does not change with a constant added to a row of scores: compare probabilities.
    softmax = torch.softmax(-torch.from_numpy(p @ expected), dim=1)
    torch.testing.assert_close(
        torch.softmax(-torch.from_numpy(p) @ fitted.cost_KM, dim=1), softmax, rtol=0, atol=1e-5
    )


def test_learned_tends_to_cooccurrence_as_the_ridge_grows(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    stiff = LearnedCost(temperatures=(2.0,), ridges=(1e12,)).fit(predictions, labels_N, 3)
    prior = CooccurrenceCost(2.0).fit(predictions, labels_N, 3)
    torch.testing.assert_close(stiff.cost_KM, prior.cost_KM, rtol=0, atol=1e-8)


def test_learned_scores_better_than_its_prior(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    losses = {}
    for cost in (LearnedCost(), LearnedCost(ridges=(1e12,))):
        fitted = cost.cross_fit(predictions, labels_N, 3, fold_N)
        losses[cost] = held_out_loss(predictions, labels_N, fitted.costs, fold_N)
    learned, prior = losses.values()
    assert learned < 0.95 * prior


def held_out_loss(
    predictions: Predictions, labels_N: Tensor, costs: tuple, fold_N: Tensor
) -> float:
    total = 0.0
    for fold, fitted in enumerate(costs):
        rows = fold_N == fold
        expected = fitted.source_NK(predictions.rows(rows)) @ fitted.cost_KM
        log_p = torch.log_softmax(-expected, dim=1)
        total -= float(log_p.gather(1, labels_N[rows][:, None]).sum())
    return total / len(labels_N)


@pytest.mark.parametrize("name", sorted(GROUND_COSTS))
def test_a_cross_fitted_cost_does_not_see_its_own_fold(
    name: str, iris: tuple[Predictions, Tensor]
) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    cost = ground_cost(name, temperature=4.0)
    before = cost.cross_fit(predictions, labels_N, 3, fold_N)
    # Other labels in fold 0 may change every cost but that of fold 0.
    changed_N = torch.where(fold_N == 0, (labels_N + 1) % 3, labels_N)
    after = cost.cross_fit(predictions, changed_N, 3, fold_N)
    if name not in ("learned", "features"):  # their ridge is chosen by the loss on all images
        torch.testing.assert_close(before.costs[0].cost_KM, after.costs[0].cost_KM)
    assert not torch.allclose(before.costs[1].cost_KM, after.costs[1].cost_KM, atol=1e-3)


def test_a_learned_cost_with_one_ridge_does_not_see_its_own_fold(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    cost = LearnedCost(temperatures=(4.0,), ridges=(0.5,))
    before = cost.cross_fit(predictions, labels_N, 3, fold_N)
    changed_N = torch.where(fold_N == 0, (labels_N + 1) % 3, labels_N)
    after = cost.cross_fit(predictions, changed_N, 3, fold_N)
    torch.testing.assert_close(
        before.costs[0].cost_KM, after.costs[0].cost_KM, rtol=1e-5, atol=1e-5
    )


def test_many_classes_do_not_win_by_overfitting() -> None:
    """A teacher of noise with 300 classes scores no better than guessing, cross-fitted."""
    rng = np.random.default_rng(0)
    labels_N = torch.from_numpy(rng.permutation(np.arange(100) % 4))
    noise = Predictions(torch.from_numpy(rng.normal(size=(100, 300)) * 3))
    fold_N = stratified_folds(labels_N)
    for name in ("learned", "cooccurrence"):
        fitted = ground_cost(name).cross_fit(noise, labels_N, 4, fold_N)
        assert held_out_loss(noise, labels_N, fitted.costs, fold_N) > 0.95 * np.log(4)


@pytest.mark.parametrize("name", sorted(GROUND_COSTS))
def test_a_teacher_that_says_nothing(name: str) -> None:
    labels_N = torch.arange(40) % 4
    constant = Predictions(torch.zeros(40, 7), torch.ones(40, 3))
    fitted = ground_cost(name).cross_fit(constant, labels_N, 4, stratified_folds(labels_N))
    assert all(torch.isfinite(cost.cost_KM).all() for cost in fitted.costs)


# Rows of the cost from features are channels, not classes.
@pytest.mark.parametrize("name", sorted(GROUND_COSTS.keys() - {"features"}))
def test_permuted_teacher_classes_permute_the_rows(
    name: str, iris: tuple[Predictions, Tensor]
) -> None:
    predictions, labels_N = iris
    assert predictions.head_KD is not None
    order = torch.tensor([2, 0, 1])[: predictions.num_classes]
    permuted = Predictions(
        predictions.logits_NK[:, order], predictions.features_ND, predictions.head_KD[order]
    )
    cost = ground_cost(name, temperature=2.0)
    torch.testing.assert_close(
        cost.fit(permuted, labels_N, 3).cost_KM,
        cost.fit(predictions, labels_N, 3).cost_KM[order],
        rtol=1e-5,
        atol=1e-5,
    )


def test_folds_are_stratified_and_seeded() -> None:
    labels_N = torch.tensor([0] * 23 + [1] * 10 + [2] * 2)
    fold_N = stratified_folds(labels_N, 5, seed=3)
    for label, count in ((0, 23), (1, 10), (2, 2)):
        sizes = torch.bincount(fold_N[labels_N == label], minlength=5)
        assert int(sizes.max() - sizes.min()) <= 1, label
        assert int(sizes.sum()) == count
    assert torch.equal(fold_N, stratified_folds(labels_N, 5, seed=3))
    assert not torch.equal(fold_N, stratified_folds(labels_N, 5, seed=4))
    with pytest.raises(ValueError, match="cannot be dealt"):
        stratified_folds(labels_N[:3], 5)


def test_unknown_cost_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'learned'"):
        ground_cost("lerned")


def test_predictions_must_fit_together() -> None:
    logits = torch.zeros(4, 3)
    with pytest.raises(ValueError, match="must be"):
        Predictions(logits[0])
    with pytest.raises(ValueError, match="do not fit logits"):
        Predictions(logits, torch.zeros(5, 2))
    with pytest.raises(ValueError, match="head"):
        Predictions(logits, torch.zeros(4, 2), torch.zeros(2, 2))
