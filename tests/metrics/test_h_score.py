"""The regularised H-score against whole covariance matrices and scikit-learn's Ledoit-Wolf."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage
from sklearn.datasets import load_iris

from rayxkd.metrics import h_score
from rayxkd.metrics.h_score import HScore
from rayxkd.metrics.linalg import left_singular
from rayxkd.transport.predictions import Predictions


def h_score_by_covariances(features, labels) -> float:
    estimate = LedoitWolf().fit(features)
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    between = np.cov(means, rowvar=False, bias=True)
    return np.trace(np.linalg.inv(estimate.covariance_) @ between) * (1 - estimate.shrinkage_)


def test_is_the_trace_of_the_papers_matrices(sample):
    features = sample.predictions.features_ND.double().numpy()
    expected = h_score_by_covariances(features, sample.labels.numpy())
    assert HScore().fit(*sample) == pytest.approx(expected, rel=1e-9)


def test_shrinkage_is_that_of_scikit_learn(sample):
    features_ND = sample.predictions.embeddings_ND
    centred_ND = features_ND - features_ND.mean(dim=0)
    variance_R = left_singular(centred_ND)[1] ** 2 / len(features_ND)
    found = h_score.ledoit_wolf_shrinkage(centred_ND, variance_R)
    assert 0 < found < 1
    assert found == pytest.approx(ledoit_wolf_shrinkage(features_ND.numpy()), rel=1e-9)


def test_equals_the_value_published_for_iris():
    # transformer-ranker, an implementation of others, pins 1.1778 in tests/estimators. It divides
    # the covariance of the class means by N - 1 and that of the features by N; here both by N.
    iris = load_iris()
    predictions = Predictions(torch.zeros(150, 2), torch.tensor(iris.data).float())
    score = HScore().fit(predictions, torch.tensor(iris.target), 3)
    assert score * 150 / 149 == pytest.approx(1.177842480406727, rel=1e-4)


def test_one_feature_is_the_share_of_its_variance_between_classes():
    # Means 1 and 5, variance within each class 1: nothing to shrink towards.
    predictions = Predictions(torch.zeros(4, 2), torch.tensor([[0.0], [2.0], [4.0], [6.0]]))
    assert HScore().fit(predictions, torch.tensor([0, 0, 1, 1]), 2) == pytest.approx(4 / 5)


def test_noise_that_outweighs_the_covariance_is_shrunk_to_nothing():
    generator = torch.Generator().manual_seed(0)
    heavy_tailed_ND = torch.randn(40, 3, generator=generator, dtype=torch.float64) ** 3
    assert ledoit_wolf_shrinkage(heavy_tailed_ND.numpy()) == 1
    assert HScore().fit(Predictions(heavy_tailed_ND), torch.arange(40) % 2, 2) == 0


def test_lies_between_zero_and_classes_less_one(sample):
    assert 0 < HScore().fit(*sample) < sample.num_classes - 1


def test_scale_and_place_of_the_features_do_not_matter(sample):
    predictions, labels_N, num_classes = sample
    moved = Predictions(predictions.logits_NK, predictions.embeddings_ND * 100 + 7)
    expected = HScore().fit(*sample)
    assert HScore().fit(moved, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)
