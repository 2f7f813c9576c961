"""k-NN against scikit-learn's neighbours and a count by hand."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from rayxkd.metrics.knn import KNN
from rayxkd.transport.predictions import Predictions


def knn_by_votes(features, labels) -> float:
    search = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(features)
    neighbours = search.kneighbors(return_distance=False)  # without the image itself
    credit = 0.0
    for own, row in zip(labels, neighbours, strict=True):
        votes = Counter(labels[i] for i in row)
        winners = [label for label, count in votes.items() if count == max(votes.values())]
        credit += (own in winners) / len(winners)
    return credit / len(labels)


def knn_by_levels(features, labels) -> float:
    """The same with ties: places are filled level by level, and the last level shares the rest."""
    credit = Fraction(0)
    for i, own in enumerate(labels):
        levels = defaultdict(list)
        for j in set(range(len(labels))) - {i}:
            cosine = sum(a * b for a, b in zip(features[i], features[j], strict=True))
            cosine /= math.hypot(*features[i]) * math.hypot(*features[j])
            levels[round(cosine, 9)].append(labels[j])
        votes, places = Counter(), Fraction(5)
        for level in sorted(levels, reverse=True):
            share = min(Fraction(1), places / len(levels[level]))
            for label in levels[level]:
                votes[label] += share
            places -= share * len(levels[level])
        winners = [label for label, count in votes.items() if count == max(votes.values())]
        credit += Fraction(own in winners, len(winners))
    return float(credit / len(labels))


def angles(*degrees: float) -> Predictions:
    """Images on a circle, whose similarity is the cosine of the angle between them."""
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return Predictions(torch.zeros(len(degrees), 2), torch.stack([radians.cos(), radians.sin()], 1))


@pytest.mark.parametrize("name", ["digits, N < D", "digits, N > D"])
def test_equals_the_votes_of_scikit_learns_neighbours(samples, name):
    features = samples[name].predictions.features_ND.double().numpy()
    expected = knn_by_votes(features, samples[name].labels.numpy())
    assert 0.3 < expected < 1
    assert KNN().fit(*samples[name]) == pytest.approx(expected, rel=1e-12)


def test_an_image_does_not_vote_for_itself():
    # Six images are alone in their class: no neighbour can know it.
    assert KNN().fit(angles(0, 11, 23, 36, 50, 65), torch.arange(6), 6) == 0


def test_length_of_the_features_does_not_matter(samples):
    predictions, labels_N, num_classes = samples["digits, N > D"]
    length_N1 = torch.linspace(0.1, 50, len(labels_N), dtype=torch.float64)[:, None]
    stretched = Predictions(predictions.logits_NK, predictions.embeddings_ND * length_N1)
    expected = KNN().fit(predictions, labels_N, num_classes)
    assert KNN().fit(stretched, labels_N, num_classes) == pytest.approx(expected, rel=1e-12)


def test_tied_classes_share_the_credit():
    # Four images, three neighbours each, whatever the angles. Label 0's images have votes 0, 1, 2
    # (a third of the credit each); those of labels 1 and 2 have votes 0, 0 and another: none.
    score = KNN().fit(angles(0, 10, 25, 45), torch.tensor([0, 0, 1, 2]), 3)
    assert score == pytest.approx((1 / 3 + 1 / 3 + 0 + 0) / 4)


def test_tied_neighbours_share_the_last_place(samples):
    # Sepals measured to whole centimetres: many are the same, or multiples of one another, and
    # the order in which scikit-learn takes them decides what it answers.
    predictions, labels_N, num_classes = samples["iris"]
    coarse_ND = predictions.embeddings_ND[:, :2].round()
    expected = knn_by_levels(coarse_ND.tolist(), labels_N.tolist())
    score = KNN().fit(Predictions(predictions.logits_NK, coarse_ND), labels_N, num_classes)
    assert score == pytest.approx(expected, rel=1e-12)
    assert score != pytest.approx(knn_by_votes(coarse_ND.numpy(), labels_N.numpy()), abs=0.01)


def test_features_in_one_direction_cannot_beat_the_most_frequent_class():
    # All others are tied, but for rounding: class 0, of 16 in 30, wins every vote.
    row_D = torch.randn(1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows_ND = torch.linspace(0.1, 9.7, 30, dtype=torch.float64)[:, None] * row_D
    labels_N = torch.tensor([0, 1] * 14 + [0, 0])
    score = KNN().fit(Predictions(torch.zeros(30, 2), rows_ND), labels_N, 2)
    assert score == pytest.approx(16 / 30)
