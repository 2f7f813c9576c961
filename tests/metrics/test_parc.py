"""PARC against numpy's correlation matrices and scipy's Spearman."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from rayxkd.metrics.parc import PARC
from rayxkd.transport.predictions import Predictions


def parc_by_matrices(features, labels, num_classes: int) -> float:
    upper = np.triu_indices(len(labels), 1)
    of_features = (1 - np.corrcoef(features))[upper]
    of_labels = (1 - np.corrcoef(np.eye(num_classes)[labels]))[upper]
    return spearmanr(of_features.round(12), of_labels.round(12)).statistic


def test_is_the_rank_correlation_of_the_papers_matrices(sample):
    features = sample.predictions.features_ND.double().numpy()
    expected = parc_by_matrices(features, sample.labels.numpy(), sample.num_classes)
    assert 0.05 < expected < 0.95
    assert PARC().fit(*sample) == pytest.approx(expected, rel=1e-9)


def test_by_hand():
    # Two pairs of images, alike within and opposite between: both distances agree on every pair.
    rows_ND = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0], [9.0, 8.0, 7.0]])
    predictions = Predictions(torch.zeros(4, 2), rows_ND)
    assert PARC().fit(predictions, torch.tensor([0, 0, 1, 1]), 2) == pytest.approx(1)
    # With the classes crossed, distances 0 0 2 2 2 2 meet labels 1 1 0 1 1 0 in some order: -1/2.
    assert PARC().fit(predictions, torch.tensor([0, 1, 0, 1]), 2) == pytest.approx(-0.5)


def test_scale_and_place_of_an_images_features_do_not_matter(sample):
    predictions, labels_N, num_classes = sample
    moved = Predictions(predictions.logits_NK, predictions.embeddings_ND * 100 + 7)
    expected = PARC().fit(*sample)
    assert PARC().fit(moved, labels_N, num_classes) == pytest.approx(expected, rel=1e-6)


def test_rounding_errors_are_not_ranked():
    # Every image has the same features up to a factor: all correlations are 1 to rounding.
    row_D = torch.randn(1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows_ND = torch.linspace(0.1, 9.7, 30, dtype=torch.float64)[:, None] * row_D
    labels_N = torch.arange(30) % 3
    assert PARC().fit(Predictions(torch.zeros(30, 2), rows_ND), labels_N, 3) == 0


def test_an_image_whose_features_are_all_equal_is_correlated_with_none():
    # Subtracting the mean of 0.1 three hundred times over leaves rounding errors, not features.
    values_N1 = torch.linspace(0.1, 9.7, 30, dtype=torch.float64)[:, None]
    labels_N = torch.arange(30) % 3
    flat = Predictions(torch.zeros(30, 2), values_N1.expand(30, 300))
    assert PARC().fit(flat, labels_N, 3) == 0
