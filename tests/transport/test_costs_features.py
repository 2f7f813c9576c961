"""The learned cost from the channels of features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rayxkd.transport import (
    FeatureCost,
    LearnedCost,
    Predictions,
    ground_cost,
    score_transport,
    stratified_folds,
)
from rayxkd.transport.costs.base import one_hot_NM


def score(predictions: Predictions, labels_N: Tensor, name: str) -> float:
    num_classes = int(labels_N.max()) + 1
    fold_N = stratified_folds(labels_N)
    fitted = ground_cost(name).cross_fit(predictions, labels_N, num_classes, fold_N)
    return score_transport(predictions, one_hot_NM(labels_N, num_classes), fitted).cost


@pytest.fixture(scope="module")
def digits() -> tuple[Predictions, Tensor]:
    """Real scans as features, and a head of two classes: dark or light."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    chosen = scans.target < 5
    features_ND = torch.from_numpy(scans.data[chosen][:250]).float()
    ink_N = features_ND.mean(dim=1)
    return Predictions(torch.stack([ink_N, 5 - ink_N], dim=1), features_ND), torch.from_numpy(
        scans.target[chosen][:250]
    )


def test_it_is_the_learned_cost_of_standardised_features(
    digits: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = digits
    phi = predictions.embeddings_ND.numpy()
    centred = phi - phi.mean(axis=0)
    logits = torch.from_numpy(centred / np.sqrt(np.mean(centred**2)))
    expected = LearnedCost().fit(Predictions(logits), labels_N, 5)
    fitted = FeatureCost().fit(predictions, labels_N, 5)
    assert torch.allclose(fitted.cost_KM, expected.cost_KM, atol=1e-9)
    assert fitted.temperature == expected.temperature
    mass = fitted.source_NK(predictions)
    assert mass.shape == (250, 64)
    assert torch.allclose(mass, expected.source_NK(Predictions(logits)), atol=1e-12)
    assert score(predictions, labels_N, "features") == pytest.approx(
        score(Predictions(logits), labels_N, "learned"), abs=1e-9
    )


def test_features_tell_what_few_classes_hide(digits: tuple[Predictions, Tensor]) -> None:
    assert score(*digits, "features") < 0.5 < 0.9 * np.log(5) < score(*digits, "learned")


def test_the_scale_of_features_does_not_matter(digits: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = digits
    assert predictions.features_ND is not None
    scaled = replace(predictions, features_ND=1_000 * predictions.features_ND + 7)
    assert score(scaled, labels_N, "features") == pytest.approx(
        score(predictions, labels_N, "features"), rel=1e-4
    )


def test_logits_stand_in_where_there_are_no_features(digits: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = digits
    alone = Predictions(predictions.logits_NK)
    logits = Predictions(predictions.logits_NK, predictions.logits_NK)
    assert score(alone, labels_N, "features") == score(logits, labels_N, "features")


def test_constant_features_say_nothing(digits: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = digits
    constant = Predictions(predictions.logits_NK, torch.ones(250, 8))
    share_M = torch.bincount(labels_N) / 250
    guessing = -float((share_M * share_M.log()).sum())
    assert score(constant, labels_N, "features") == pytest.approx(guessing, abs=0.01)


def test_its_temperature_can_be_given() -> None:
    assert ground_cost("features", 2.0) == FeatureCost(LearnedCost(temperatures=(2.0,)))
