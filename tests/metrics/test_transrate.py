"""TransRate against the determinants of whole covariance matrices in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rayxkd.metrics.transrate import TransRate
from rayxkd.transport.predictions import Predictions


def rate_by_eigenvalues(rows) -> float:
    eigenvalues = np.linalg.eigvalsh(rows.T @ rows / len(rows)).clip(min=0)
    return sum(math.log1p(value / 1e-4) for value in eigenvalues) / 2


def transrate_by_eigenvalues(features, labels) -> float:
    centred = features - features.mean(axis=0)
    centred /= math.sqrt(np.trace(np.cov(features, rowvar=False, bias=True)))
    within = [rate_by_eigenvalues(centred[labels == label]) for label in np.unique(labels)]
    return rate_by_eigenvalues(centred) - np.mean(within)


def test_is_the_difference_of_the_papers_rates(sample):
    features = sample.predictions.features_ND.double().numpy()
    expected = transrate_by_eigenvalues(features, sample.labels.numpy())
    assert expected > 0.1
    assert TransRate().fit(*sample) == pytest.approx(expected, rel=1e-8)


def test_by_hand():
    # Each class has an axis of its own: the covariance is I / 2, within a class that of one axis.
    rows_ND = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    expected = math.log(1 + 0.5e4) - math.log(1 + 1e4) / 2
    predictions = Predictions(torch.zeros(4, 2), rows_ND)
    assert TransRate().fit(predictions, torch.tensor([0, 0, 1, 1]), 2) == pytest.approx(expected)
    # With the axes crossed, each class has the covariance of all.
    assert TransRate().fit(predictions, torch.tensor([0, 1, 0, 1]), 2) == pytest.approx(0, abs=1e-9)


def test_features_that_tell_nothing_score_zero():
    silent = Predictions(torch.zeros(4, 2), torch.full((4, 7), 0.1))
    assert TransRate().fit(silent, torch.tensor([0, 0, 1, 1]), 2) == 0


@pytest.mark.parametrize("scale", [1e-6, 100])
def test_scale_and_place_of_the_features_do_not_matter(sample, scale):
    predictions, labels_N, num_classes = sample
    moved = Predictions(predictions.logits_NK, predictions.embeddings_ND * scale + 7 * scale)
    expected = TransRate().fit(*sample)
    assert TransRate().fit(moved, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)
