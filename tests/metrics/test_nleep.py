"""N-LEEP against scikit-learn's PCA and mixture, with LEEP's sums in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from rayxkd.metrics.nleep import NLEEP, most_energetic, number_of_components
from rayxkd.transport.predictions import Predictions


def nleep_by_sklearn(features, labels, components: int) -> float:
    order = sorted(range(len(features)), key=lambda i: tuple(features[i]))
    reduced = PCA(0.8).fit_transform(features[order])
    # Scaled by hand, since a mixture's ridge is absolute.
    reduced /= np.sqrt(np.mean(reduced**2))
    mixture = GaussianMixture(components, reg_covar=1e-2, random_state=0).fit(reduced)
    posterior, labels = mixture.predict_proba(reduced), labels[order]
    total = 0.0
    for row, label in zip(posterior, labels, strict=True):
        given = posterior[labels == label].sum(axis=0) / posterior.sum(axis=0)
        total += math.log(given @ row)
    return total / len(labels)


@pytest.mark.parametrize(
    ("name", "components"), [("iris", 15), ("digits, N < D", 8), ("digits, N > D", 20)]
)
def test_is_leep_of_a_mixture(samples, name, components):
    features = samples[name].predictions.features_ND.double().numpy()
    expected = nleep_by_sklearn(features, samples[name].labels.numpy(), components)
    assert -1.2 < expected < -0.01
    assert NLEEP().fit(*samples[name]) == pytest.approx(expected, rel=1e-6)


def test_by_hand():
    # One point of ten images is of both classes, the other of one: 1/2 log 1/2 + 1/2 log 1.
    rows_ND = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).repeat_interleave(10, dim=0)
    labels_N = torch.tensor([0, 1] * 5 + [1] * 10)
    score = NLEEP().fit(Predictions(torch.zeros(20, 2), rows_ND), labels_N, 2)
    assert score == pytest.approx(math.log(1 / 2) / 2)


def test_features_that_tell_nothing_score_the_entropy_of_the_labels():
    labels_N = torch.tensor([0, 0, 0, 1])
    expected = 3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4)
    silent = Predictions(torch.zeros(4, 2), torch.full((4, 7), 0.1))
    assert NLEEP().fit(silent, labels_N, 2) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("images", "classes", "expected"),
    [(300, 10, 50), (100, 10, 20), (30, 10, 10), (3, 3, 3)],
    ids=["five for each class", "one for five images", "one for each class", "all images"],
)
def test_number_of_components(images, classes, expected):
    labels_N = torch.arange(images) % classes
    assert number_of_components(torch.arange(images)[:, None], labels_N) == expected


def test_no_more_components_than_different_images():
    assert number_of_components(torch.tensor([[1.0], [1.0], [2.0]]), torch.arange(3)) == 2


def test_most_energetic_components_are_those_of_scikit_learn(sample):
    features_ND = sample.predictions.embeddings_ND
    expected = PCA(0.8).fit_transform(features_ND.numpy())
    found = most_energetic(features_ND).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(abs(found), abs(expected) / np.sqrt((expected**2).mean()), atol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_of_the_features_does_not_matter(sample, scale):
    predictions, labels_N, num_classes = sample
    scaled = Predictions(predictions.logits_NK, predictions.embeddings_ND * scale)
    expected = NLEEP().fit(*sample)
    assert NLEEP().fit(scaled, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)
