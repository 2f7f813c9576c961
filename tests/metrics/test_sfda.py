"""SFDA against scikit-learn's linear discriminant analysis, applied twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from rayxkd.metrics.sfda import SFDA
from rayxkd.transport.predictions import Predictions


def sfda_by_sklearn(features, labels) -> float:
    features = features / math.sqrt(features.var(axis=0).sum())
    classes = np.unique(labels)
    means = np.stack([features[labels == label].mean(axis=0) for label in classes])
    within = sum(
        np.cov(features[labels == label], rowvar=False, bias=True) * np.mean(labels == label)
        for label in classes
    )
    strength = math.exp(-5 * np.linalg.eigvalsh(within).max())
    # scikit-learn's shrinkage is towards the mean variance too.
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=strength)
    doubt = softmax(model.fit(features, labels).predict_proba(features), axis=1)
    mixed = np.empty_like(features)
    for i, label in enumerate(labels):
        others = means[classes != label].mean(axis=0)
        sure = doubt[i, np.searchsorted(classes, label)]
        mixed[i] = sure * features[i] + (1 - sure) * others
    posterior = model.fit(mixed, labels).predict_proba(mixed)
    return posterior[np.arange(len(labels)), np.searchsorted(classes, labels)].mean()


def test_is_two_discriminants(sample):
    features = sample.predictions.features_ND.double().numpy()
    expected = sfda_by_sklearn(features, sample.labels.numpy())
    assert 0.3 < expected < 0.99
    assert SFDA().fit(*sample) == pytest.approx(expected, rel=1e-8)


def test_mixing_makes_it_harder(sample):
    features = sample.predictions.features_ND.double().numpy()
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
    posterior = model.fit(features, sample.labels).predict_proba(features)
    assert SFDA().fit(*sample) < posterior[np.arange(len(features)), sample.labels].mean()


def test_features_that_tell_nothing_score_what_guessing_by_frequency_does():
    silent = Predictions(torch.zeros(4, 2), torch.full((4, 7), 0.1))
    assert SFDA().fit(silent, torch.tensor([0, 0, 0, 1]), 2) == pytest.approx(9 / 16 + 1 / 16)


def test_classes_that_are_points_are_certain():
    labels_N = torch.arange(60) % 3
    assert SFDA().fit(Predictions(torch.eye(3)[labels_N]), labels_N, 3) == pytest.approx(1)


def test_random_labels_are_not_fitted_exactly(samples):
    # More features than images: without a ridge any labels could be.
    predictions, labels_N, num_classes = samples["digits, N < D"]
    shuffled_N = labels_N[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    score = SFDA().fit(predictions, shuffled_N, num_classes)
    assert score < 0.9
    assert score < SFDA().fit(predictions, labels_N, num_classes) - 0.05


def test_scale_and_place_of_the_features_do_not_matter(sample):
    predictions, labels_N, num_classes = sample
    moved = Predictions(predictions.logits_NK, predictions.embeddings_ND * 100 + 7)
    expected = SFDA().fit(*sample)
    assert SFDA().fit(moved, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)
