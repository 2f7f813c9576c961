"""GBC against Gaussians with whole covariance matrices, and integrals of densities."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.decomposition import PCA

from rayxkd.metrics.gbc import GBC, bhattacharyya_distance
from rayxkd.transport.predictions import Predictions


def gbc_by_matrices(features, labels) -> float:
    reduced = PCA(min(64, np.linalg.matrix_rank(features - features.mean(axis=0))))
    rows = reduced.fit_transform(features)
    floor = 1e-4 * np.mean(rows**2)
    gaussians = []
    for label in np.unique(labels):
        of_class = rows[labels == label]
        variance = max(of_class.var(axis=0).mean(), floor)
        gaussians.append((of_class.mean(axis=0), variance * np.eye(rows.shape[1])))
    total = 0.0
    for (mean, covariance), (other_mean, other_covariance) in permutations(gaussians, 2):
        both = (covariance + other_covariance) / 2
        distance = (mean - other_mean) @ np.linalg.inv(both) @ (mean - other_mean) / 8
        logs = [np.linalg.slogdet(matrix)[1] for matrix in (both, covariance, other_covariance)]
        total += math.exp(-distance - (logs[0] - (logs[1] + logs[2]) / 2) / 2)
    return -total


def test_is_the_overlap_of_the_papers_gaussians(sample):
    features = sample.predictions.features_ND.double().numpy()
    expected = gbc_by_matrices(features, sample.labels.numpy())
    assert -12 < expected < -0.05
    assert GBC().fit(*sample) == pytest.approx(expected, rel=1e-8)


def test_coefficient_is_the_integral_of_the_densities_geometric_mean():
    mean_MR, variance_M = torch.tensor([[1.0], [3.5]]).double(), torch.tensor([0.5, 4.0]).double()
    one, other = norm(1, 0.5**0.5), norm(3.5, 2)
    overlap, _ = quad(lambda x: math.sqrt(one.pdf(x) * other.pdf(x)), -30, 30, points=[1, 3.5])
    distance_MM = bhattacharyya_distance(mean_MR, variance_M)
    assert math.exp(-distance_MM[0, 1]) == pytest.approx(overlap, rel=1e-6)
    assert torch.allclose(distance_MM.diagonal(), torch.zeros(2).double())


def test_only_64_components_are_looked_at():
    # A hundred axes, longest first, two images on each, of one class. The last axes do not count.
    rows_ND = torch.eye(100).double() * torch.linspace(9, 1, 100).double()[:, None]
    rows_ND = torch.cat([rows_ND, -rows_ND])
    labels_N = (torch.arange(200) % 100 >= 64).long()
    shrunk_ND = torch.where(labels_N[:, None] == 1, rows_ND / 2, rows_ND)
    predictions = [Predictions(torch.zeros(200, 2), rows) for rows in (rows_ND, shrunk_ND)]
    scores = [GBC().fit(each, labels_N, 2) for each in predictions]
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)


def test_classes_that_are_the_same_overlap_wholly():
    silent = Predictions(torch.zeros(6, 2), torch.full((6, 7), 0.1))
    assert GBC().fit(silent, torch.arange(6) % 3, 3) == -6


def test_classes_that_are_points_do_not_overlap():
    labels_N = torch.arange(60) % 3
    assert GBC().fit(Predictions(torch.eye(3)[labels_N]), labels_N, 3) == 0


def test_scale_and_place_of_the_features_do_not_matter(sample):
    predictions, labels_N, num_classes = sample
    moved = Predictions(predictions.logits_NK, predictions.embeddings_ND * 100 + 7)
    expected = GBC().fit(*sample)
    assert GBC().fit(moved, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)
