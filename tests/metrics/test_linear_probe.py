"""The linear probe against scikit-learn's own cross-validation on unrotated features."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.preprocessing import StandardScaler

from rayxkd.metrics.linear_probe import LinearProbe, stratified_folds
from rayxkd.transport.predictions import Predictions


def accuracy_by_sklearn(features, labels) -> float:
    order = sorted(range(len(features)), key=lambda i: tuple(features[i]))
    standard, labels = StandardScaler().fit_transform(features[order]), labels[order]
    # Features of variance 1 instead of 1 / D: weights are smaller and their ridge is the greater.
    model = LogisticRegression(C=10 / features.shape[1], max_iter=1000, tol=1e-8)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    sizes = [len(test) for _, test in folds.split(standard, labels)]
    scores = cross_val_score(model, standard, labels, cv=folds)
    return sum(scores * sizes) / len(labels)


def test_is_the_accuracy_of_scikit_learns_cross_validation(sample):
    features = sample.predictions.features_ND.double().numpy()
    expected = accuracy_by_sklearn(features, sample.labels.numpy())
    assert 0.5 < expected < 1
    assert LinearProbe().fit(*sample) == pytest.approx(expected, rel=1e-12)


def test_images_are_not_judged_by_a_classifier_that_saw_them(samples):
    # More features than images: a classifier that saw random labels would know them all.
    predictions, labels_N, num_classes = samples["digits, N < D"]
    shuffled_N = labels_N[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert LinearProbe().fit(predictions, shuffled_N, num_classes) < 0.5


def test_classes_on_either_side_of_a_plane_are_told_apart():
    side_N = torch.arange(40) % 2
    rows_ND = torch.stack([side_N * 2.0 - 1, torch.linspace(-1, 1, 40).cos()], dim=1)
    assert LinearProbe().fit(Predictions(torch.zeros(40, 2), rows_ND), side_N, 2) == 1


def test_features_that_tell_nothing_score_the_share_of_the_most_frequent_class():
    silent = Predictions(torch.zeros(40, 2), torch.full((40, 7), 0.1))
    assert LinearProbe().fit(silent, (torch.arange(40) % 4 == 0).long(), 2) == 0.75


def test_an_image_that_is_alone_in_its_class_cannot_be_known(samples):
    predictions, _, _ = samples["digits, N < D"]
    assert LinearProbe().fit(predictions, torch.arange(40), 40) == 0


@pytest.mark.parametrize(("sizes", "folds"), [((9, 7), 5), ((3, 1), 3), ((2, 2), 2), ((1, 1), 0)])
def test_there_are_no_more_folds_than_images_of_a_class(sizes, folds):
    labels_N = torch.arange(2).repeat_interleave(torch.tensor(sizes))
    found = stratified_folds(labels_N.numpy())
    assert len(found) == folds
    if found:
        tested = sorted(i for _, test in found for i in test.tolist())
        assert tested == list(range(sum(sizes)))


def test_logits_stand_in_for_features(samples):
    predictions, labels_N, num_classes = samples["digits, N > D"]
    bare = Predictions(predictions.logits_NK)
    as_features = Predictions(torch.zeros(len(labels_N), 1), predictions.logits_NK)
    score = LinearProbe().fit(bare, labels_N, num_classes)
    assert score == LinearProbe().fit(as_features, labels_N, num_classes)
    assert score != LinearProbe().fit(predictions, labels_N, num_classes)


def test_scale_and_place_of_each_feature_do_not_matter(sample):
    predictions, labels_N, num_classes = sample
    features_ND = predictions.embeddings_ND
    scale_D = torch.logspace(-3, 3, features_ND.shape[1], dtype=torch.float64)
    moved = Predictions(predictions.logits_NK, features_ND * scale_D + 7)
    assert LinearProbe().fit(moved, labels_N, num_classes) == LinearProbe().fit(*sample)
