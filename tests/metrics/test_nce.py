"""NCE against the entropies that scipy and scikit-learn compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from rayxkd.metrics.nce import NCE
from rayxkd.transport.predictions import Predictions


def test_is_mutual_information_less_the_entropy_of_the_labels(sample):
    labels = sample.labels.numpy()
    decisions = sample.predictions.logits_NK.numpy().argmax(axis=1)
    expected = mutual_info_score(decisions, labels) - entropy(np.bincount(labels))
    assert NCE().fit(*sample) == pytest.approx(expected, rel=1e-10)


def test_by_hand():
    # Teacher class 0 sees labels 0, 0, 1; teacher class 2 sees label 1 alone.
    logits_NK = torch.eye(3)[[0, 0, 0, 2]]
    expected = (2 * np.log(2 / 3) + np.log(1 / 3) + np.log(1)) / 4
    assert NCE().fit(Predictions(logits_NK), torch.tensor([0, 0, 1, 1]), 2) == pytest.approx(
        expected
    )


def test_a_decision_that_settles_the_label_scores_zero():
    labels_N = torch.tensor([0, 1, 2, 1])
    assert NCE().fit(Predictions(torch.eye(5)[labels_N]), labels_N, 3) == 0
