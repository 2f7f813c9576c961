"""OTCE and F-OTCE against prototypes by loops and a Sinkhorn of our own in the log domain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import entropy

from rayxkd.metrics.f_otce import FOTCE, couple
from rayxkd.metrics.otce import OTCE
from rayxkd.transport.predictions import Predictions


def plan_and_cost(logits, features):
    probs = softmax(logits, axis=1)
    prototypes = [np.average(features, axis=0, weights=probs[:, k]) for k in range(probs.shape[1])]
    mass_k, mass_i = probs.mean(axis=0), np.full(len(features), 1 / len(features))
    cost = np.array([[np.sum((p - f) ** 2) for f in features] for p in prototypes])
    cost /= mass_k @ cost @ mass_i
    potential_i = np.zeros(len(features))
    for _ in range(3000):
        potential_k = np.log(mass_k) - logsumexp(potential_i - cost / 0.1, axis=1)
        potential_i = np.log(mass_i) - logsumexp(potential_k[:, None] - cost / 0.1, axis=0)
    return np.exp(potential_k[:, None] + potential_i - cost / 0.1), cost


def open_question(plan, labels) -> float:
    """H(Y | K) as the mean over classes of the entropy of what goes from each."""
    joint = np.stack([plan[:, labels == label].sum(axis=1) for label in np.unique(labels)], axis=1)
    return sum(row.sum() * entropy(row) for row in joint)


@pytest.mark.parametrize("name", ["iris", "digits, N < D"])
def test_are_what_the_plan_leaves_open_and_costs(samples, name):
    predictions, labels_N, num_classes = samples[name]
    logits, features = predictions.logits_NK.double().numpy(), predictions.embeddings_ND.numpy()
    labels = labels_N.numpy()
    plan, cost = plan_and_cost(logits, features)
    left_open = open_question(plan, labels)
    assert 0.05 < left_open < entropy(np.bincount(labels)) - 0.05
    assert FOTCE().fit(*samples[name]) == pytest.approx(-left_open, rel=1e-6)
    share = left_open / entropy(np.bincount(labels))
    expected = -(plan * cost).sum() - share
    assert OTCE().fit(predictions, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)


def test_plan_has_the_mass_of_classes_and_images(sample):
    coupling = couple(sample.predictions)
    mass_K = sample.predictions.probabilities_NK().mean(dim=0)
    assert torch.allclose(coupling.plan_KN.sum(dim=1), mass_K, atol=1e-8)
    images_N = torch.full((len(sample.labels),), 1 / len(sample.labels), dtype=torch.float64)
    assert torch.allclose(coupling.plan_KN.sum(dim=0), images_N, atol=1e-8)
    assert 0 < coupling.relative_cost < 1


def points(labels: list[int]) -> tuple[Predictions, torch.Tensor]:
    """Two points that a teacher of two classes keeps apart, two images at each."""
    at_N = torch.tensor([0, 0, 1, 1])
    rows_ND = torch.tensor([[1.0, 2.0], [3.0, 5.0]])[at_N]
    return Predictions(torch.eye(2)[at_N] * 99, rows_ND), torch.tensor(labels)


def test_by_hand():
    # Each class's prototype is one of the points, and all of its mass stays there.
    assert FOTCE().fit(*points([0, 0, 1, 1]), 2) == pytest.approx(0, abs=1e-6)
    assert OTCE().fit(*points([0, 0, 1, 1]), 2) == pytest.approx(0, abs=1e-6)
    assert FOTCE().fit(*points([0, 1, 0, 1]), 2) == pytest.approx(-math.log(2), abs=1e-6)
    assert OTCE().fit(*points([0, 1, 0, 1]), 2) == pytest.approx(-1, abs=1e-6)
    # One of the points holds two labels: half of the images are open by log 2.
    assert FOTCE().fit(*points([0, 1, 2, 2]), 3) == pytest.approx(-math.log(2) / 2, abs=1e-6)


SILENT = {
    "features": Predictions(torch.eye(4), torch.full((4, 7), 0.1)),
    "predictions": Predictions(torch.ones(4, 3), torch.eye(4)),
}


@pytest.mark.parametrize("silent", SILENT.values(), ids=SILENT.keys())
def test_what_tells_nothing_leaves_the_label_open(silent):
    labels_N = torch.tensor([0, 0, 0, 1])
    expected = 3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4)
    assert FOTCE().fit(silent, labels_N, 2) == pytest.approx(expected)
    assert OTCE().fit(silent, labels_N, 2) == pytest.approx(-2)


@pytest.mark.parametrize("metric", [OTCE(), FOTCE()], ids=["otce", "f_otce"])
class TestBoth:
    def test_teacher_classes_without_mass_are_left_out(self, metric, samples):
        predictions, labels_N, num_classes = samples["iris"]
        never_N1 = torch.full((150, 1), -1e5)
        logits_NK = torch.cat([predictions.logits_NK, never_N1], dim=1)
        padded = Predictions(logits_NK, predictions.features_ND)
        expected = metric.fit(*samples["iris"])
        assert metric.fit(padded, labels_N, num_classes) == pytest.approx(expected, rel=1e-9)

    def test_logits_stand_in_for_features(self, metric, sample):
        predictions, labels_N, num_classes = sample
        bare = Predictions(predictions.logits_NK)
        as_features = Predictions(predictions.logits_NK, predictions.logits_NK)
        score = metric.fit(bare, labels_N, num_classes)
        assert score == metric.fit(as_features, labels_N, num_classes)
        assert score != metric.fit(*sample)

    def test_scale_and_place_of_the_features_do_not_matter(self, metric, sample):
        predictions, labels_N, num_classes = sample
        moved = Predictions(predictions.logits_NK, predictions.embeddings_ND * 100 + 7)
        expected = metric.fit(*sample)
        assert metric.fit(moved, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)

    def test_an_outlier_leaves_the_score_finite(self, metric, samples):
        predictions, labels_N, num_classes = samples["iris"]
        features_ND = predictions.embeddings_ND.clone()
        features_ND[0] *= 1e8
        far = Predictions(predictions.logits_NK * 1e4, features_ND)
        assert -2 <= metric.fit(far, labels_N, num_classes) <= 0
