"""LogME against a search for the best marginal likelihood, which knows no fixed point."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_iris

from rayxkd.metrics.logme import Evidence, LogME
from rayxkd.transport.predictions import Predictions


def log_marginal(features, target, alpha: float, beta: float) -> float:
    """log N(y; 0, I / beta + F F' / alpha): the evidence with the weights integrated out."""
    covariance = np.eye(len(target)) / beta + features @ features.T / alpha
    _, log_determinant = np.linalg.slogdet(2 * math.pi * covariance)
    return -0.5 * (log_determinant + target @ np.linalg.solve(covariance, target))


def logme_by_search(features, labels) -> float:
    scores = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)

        def loss(logs, target=target):
            return -log_marginal(features, target, *np.exp(logs))

        starts = [(-3.0, 2.0), (3.0, 3.0)]
        found = [minimize(loss, s, method="Nelder-Mead", options={"xatol": 1e-5}) for s in starts]
        scores.append(-min(f.fun for f in found) / len(labels))
    return float(np.mean(scores))


def logme_by_paper(features, labels) -> float:
    """Algorithm 1 of the ICML paper, with the whole matrices, to the end."""
    (n, d), scores = features.shape, []
    for label in np.unique(labels):
        target, alpha, beta = (labels == label).astype(float), 1.0, 1.0
        for _ in range(200):
            inverse = np.linalg.inv(alpha * np.eye(d) + beta * features.T @ features)
            mean = beta * inverse @ features.T @ target
            residual = ((features @ mean - target) ** 2).sum()
            gamma = d - alpha * np.trace(inverse)
            alpha, beta = gamma / (mean @ mean), (n - gamma) / residual
        precision = alpha * np.eye(d) + beta * features.T @ features
        mean = beta * np.linalg.solve(precision, features.T @ target)
        evidence = n * math.log(beta) + d * math.log(alpha) - n * math.log(2 * math.pi)
        evidence -= beta * ((features @ mean - target) ** 2).sum() + alpha * mean @ mean
        scores.append((evidence - np.linalg.slogdet(precision)[1]) / 2 / n)
    return float(np.mean(scores))


@pytest.mark.parametrize("name", ["iris", "digits, N < D"])
def test_is_the_greatest_marginal_likelihood(samples, name):
    features = samples[name].predictions.features_ND.double().numpy()
    expected = logme_by_search(features, samples[name].labels.numpy())
    assert LogME().fit(*samples[name]) == pytest.approx(expected, abs=1e-7)


def test_is_where_the_papers_iteration_ends(sample):
    features = sample.predictions.features_ND.double().numpy()
    expected = logme_by_paper(features, sample.labels.numpy())
    assert LogME().fit(*sample) == pytest.approx(expected, rel=1e-7)


def test_equals_the_value_published_for_iris():
    # What transformer-ranker, an implementation of others, pins in tests/estimators/test_logme.py.
    iris = load_iris()
    predictions = Predictions(torch.zeros(150, 2), torch.tensor(iris.data).float())
    score = LogME().fit(predictions, torch.tensor(iris.target), 3)
    assert score == pytest.approx(-0.16006022033609904, rel=1e-6)


def hidden_signal() -> Predictions:
    """The labels in faint features beside loud noise: the evidence has a maximum for each."""
    generator = torch.Generator().manual_seed(0)
    loud_ND = torch.randn(90, 20, generator=generator, dtype=torch.float64)
    faint_NM = torch.eye(3, dtype=torch.float64)[torch.arange(90) % 3] + loud_ND[:, :3] / 10
    return Predictions(torch.zeros(90, 2), torch.cat([loud_ND, faint_NM / 1e4], dim=1))


def test_no_ratio_of_precisions_has_more_evidence():
    labels_N = torch.arange(90) % 3
    evidence = Evidence(hidden_signal().embeddings_ND, torch.eye(3).double()[labels_N])
    dense = torch.logspace(-10, 10, 2001, dtype=torch.float64)
    best_M = torch.stack([evidence.log_at(r.expand(3)) for r in dense]).amax(dim=0)
    score = LogME().fit(hidden_signal(), labels_N, 3)
    assert score == pytest.approx(float(best_M.mean()) / 90, abs=1e-4)
    assert score >= float(best_M.mean()) / 90


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_of_the_features_does_not_matter(sample, scale):
    predictions, labels_N, num_classes = sample
    scaled = Predictions(predictions.logits_NK, predictions.embeddings_ND * scale)
    expected = LogME().fit(*sample)
    assert LogME().fit(scaled, labels_N, num_classes) == pytest.approx(expected, rel=1e-9)


def test_features_of_zero_leave_noise_alone():
    labels_N = torch.tensor([0, 0, 0, 1])
    silent = Predictions(torch.zeros(4, 2), torch.zeros(4, 3))
    # log N(y; 0, variance) at the best variance, the mean square of y.
    expected = [-0.5 * (math.log(2 * math.pi * share) + 1) for share in (3 / 4, 1 / 4)]
    assert LogME().fit(silent, labels_N, 2) == pytest.approx(sum(expected) / 2)


def test_features_that_hold_the_labels_score_high_and_finite(samples):
    predictions, labels_N, num_classes = samples["iris"]
    perfect = Predictions(torch.nn.functional.one_hot(labels_N).float())
    score = LogME().fit(perfect, labels_N, num_classes)
    assert LogME().fit(predictions, labels_N, num_classes) + 1 < score < math.inf
