"""LEEP against its definition, summed one probability at a time."""

from __future__ import annotations

import math

import pytest
import torch

from rayxkd.metrics.leep import LEEP
from rayxkd.transport.predictions import Predictions


def leep_by_loops(logits, labels, num_classes: int) -> float:
    probs = []
    for row in logits:
        exps = [math.exp(z - max(row)) for z in row]
        probs.append([e / sum(exps) for e in exps])
    teacher_classes = range(len(probs[0]))
    joint = [[0.0] * num_classes for _ in teacher_classes]
    for row, label in zip(probs, labels, strict=True):
        for k in teacher_classes:
            joint[k][label] += row[k] / len(labels)
    total = 0.0
    for row, label in zip(probs, labels, strict=True):
        total += math.log(sum(joint[k][label] / sum(joint[k]) * row[k] for k in teacher_classes))
    return total / len(labels)


def test_equals_the_papers_sums(sample):
    logits = sample.predictions.logits_NK.double().tolist()
    expected = leep_by_loops(logits, sample.labels.tolist(), sample.num_classes)
    assert LEEP().fit(*sample) == pytest.approx(expected, rel=1e-10)


def test_two_images_by_hand():
    # p = (3/4, 1/4) and (1/4, 3/4): P(y=0 | z) = (3/4, 1/4), so both labels have (9 + 1) / 16.
    logits_NK = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log()
    assert LEEP().fit(Predictions(logits_NK), torch.tensor([0, 1]), 2) == pytest.approx(
        math.log(10 / 16)
    )


def test_a_teacher_that_answers_every_image_alike_scores_the_entropy_of_the_labels():
    labels_N = torch.tensor([0, 0, 0, 1])
    expected = 3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4)
    assert LEEP().fit(Predictions(torch.ones(4, 7)), labels_N, 2) == pytest.approx(expected)


def test_teacher_classes_without_any_mass_are_left_out(samples):
    predictions, labels_N, num_classes = samples["iris"]
    never_N1 = torch.full((150, 1), -1e5)
    padded = Predictions(torch.cat([predictions.logits_NK, never_N1], dim=1))
    expected = LEEP().fit(predictions, labels_N, num_classes)
    assert LEEP().fit(padded, labels_N, num_classes) == pytest.approx(expected, rel=1e-12)
