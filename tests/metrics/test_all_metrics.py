"""What holds for every metric in the registry, a new one included."""

from __future__ import annotations

import math

import pytest
import torch

from rayxkd.errors import UserError
from rayxkd.metrics import METRICS, Metric, metric_named
from rayxkd.transport.predictions import Predictions

METRIC_OF_EMBEDDINGS = [
    "logme",
    "h_score",
    "knn",
    "parc",
    "nleep",
    "transrate",
    "gbc",
    "sfda",
]


@pytest.fixture(params=list(METRICS))
def metric(request) -> Metric:
    return metric_named(request.param)


def shuffled(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def test_says_what_it_is(metric):
    assert METRICS[metric.name] is type(metric)
    assert metric.higher_is_better in (True, False)
    assert "\n" not in metric.title
    assert metric.title
    assert metric.unit
    assert "arxiv.org" in type(metric).__doc__


def test_a_mistyped_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown metric 'logmee': did you mean 'logme'"):
        metric_named("logmee")


def test_order_of_images_does_not_matter(metric, sample):
    predictions, labels_N, num_classes = sample
    order_N = shuffled(len(labels_N))
    score = metric.fit(predictions.rows(order_N), labels_N[order_N], num_classes)
    assert score == pytest.approx(metric.fit(*sample), rel=1e-9)


def test_order_of_teacher_classes_does_not_matter(metric, sample):
    predictions, labels_N, num_classes = sample
    order_K = shuffled(predictions.num_classes)
    permuted = Predictions(predictions.logits_NK[:, order_K], predictions.features_ND)
    score = metric.fit(permuted, labels_N, num_classes)
    assert score == pytest.approx(metric.fit(*sample), rel=1e-9)


def test_names_of_target_classes_do_not_matter(metric, sample):
    predictions, labels_N, num_classes = sample
    score = metric.fit(predictions, shuffled(num_classes, seed=1)[labels_N], num_classes)
    assert score == pytest.approx(metric.fit(*sample), rel=1e-9)


def test_classes_without_images_do_not_matter(metric, sample):
    predictions, labels_N, num_classes = sample
    score = metric.fit(predictions, labels_N + 2, num_classes + 5)
    assert score == pytest.approx(metric.fit(*sample), rel=1e-9)


def test_true_labels_score_better_than_random_ones(metric, sample):
    predictions, labels_N, num_classes = sample
    true = metric.fit(*sample)
    for seed in range(5):
        at_random_N = labels_N[shuffled(len(labels_N), seed)]
        random = metric.fit(predictions, at_random_N, num_classes)
        assert (true > random) == metric.higher_is_better
        assert true != random


@pytest.mark.parametrize("name", METRIC_OF_EMBEDDINGS)
def test_logits_stand_in_for_features(name, sample):
    predictions, labels_N, num_classes = sample
    bare = Predictions(predictions.logits_NK)
    as_features = Predictions(torch.zeros(len(labels_N), 1), predictions.logits_NK)
    score = metric_named(name).fit(bare, labels_N, num_classes)
    assert score == metric_named(name).fit(as_features, labels_N, num_classes)
    assert score != metric_named(name).fit(*sample)


def test_is_pure(metric, sample):
    predictions, labels_N, _ = sample
    kept = predictions.logits_NK.clone(), predictions.features_ND.clone(), labels_N.clone()
    assert metric.fit(*sample) == metric.fit(*sample)
    assert torch.equal(predictions.logits_NK, kept[0])
    assert torch.equal(predictions.features_ND, kept[1])
    assert torch.equal(labels_N, kept[2])


def test_half_precision_is_scored_in_double(metric, samples):
    predictions, labels_N, num_classes = samples["iris"]
    half = Predictions(predictions.logits_NK.half(), predictions.features_ND.half())
    double = Predictions(half.logits_NK.double(), half.features_ND.double())
    score = metric.fit(half, labels_N, num_classes)
    assert isinstance(score, float)
    assert score == metric.fit(double, labels_N, num_classes)


SILENT = {
    "zeros": torch.zeros(60, 5),
    "one value": torch.full((60, 5), 0.1),
    "one image": torch.linspace(-1, 1, 5).expand(60, 5) / 3,
    "one feature": torch.full((60, 1), 0.1),
    "wider than images": torch.full((60, 300), 0.1),
}


@pytest.mark.parametrize("output_ND", SILENT.values(), ids=SILENT.keys())
def test_a_silent_teacher_scores_below_one_that_speaks(metric, output_ND):
    labels_N = torch.arange(60) % 3
    noise_NM = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) / 4
    speaks = Predictions(torch.eye(3)[labels_N] * 3 + noise_NM)
    silent = metric.fit(Predictions(output_ND, output_ND), labels_N, 3)
    assert math.isfinite(silent)
    assert (silent < metric.fit(speaks, labels_N, 3)) == metric.higher_is_better


EXTREME = {
    "the labels": torch.eye(3)[torch.arange(60) % 3],
    "large": torch.eye(3)[torch.arange(60) % 3] * 1e6 + torch.arange(60)[:, None] * 1e3,
    "small": torch.eye(3)[torch.arange(60) % 3] * 1e-20,
    "a dead image": torch.eye(3)[torch.arange(60) % 3] * (torch.arange(60) > 3)[:, None],
    "two scales": torch.randn(60, 80, generator=torch.Generator().manual_seed(1))
    * torch.logspace(-9, 9, 80),
}


@pytest.mark.parametrize("output_ND", EXTREME.values(), ids=EXTREME.keys())
def test_extreme_output_has_a_finite_score(metric, output_ND):
    score = metric.fit(Predictions(output_ND, output_ND), torch.arange(60) % 3, 3)
    assert math.isfinite(score)


@pytest.mark.parametrize("count", [2, 3])
def test_an_image_for_each_class_is_enough(metric, count):
    rows_ND = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [5.0, 1.0, 0.0]])[:count]
    score = metric.fit(Predictions(rows_ND, rows_ND), torch.arange(count), count)
    assert math.isfinite(score)


REFUSED = {
    "labels that are not integers": (torch.tensor([0.0, 1.0, 1.0]), 2, "must be int64"),
    "too few labels": (torch.tensor([0, 1]), 2, r"must be int64 \[3\]"),
    "a label too great": (torch.tensor([0, 1, 2]), 2, r"must lie in \[0, 2\), not in \[0, 2\]"),
    "a label below zero": (torch.tensor([0, 1, -1]), 2, "must lie in"),
    "a single class": (torch.tensor([1, 1, 1]), 2, "at least two classes"),
}


@pytest.mark.parametrize(("labels_N", "classes", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_labels_without_a_score_are_refused(metric, labels_N, classes, why):
    with pytest.raises(ValueError, match=why):
        metric.fit(Predictions(torch.eye(3)), labels_N, classes)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_predictions_that_are_not_finite_are_refused(metric, bad):
    rows_ND = torch.eye(3)
    rows_ND[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        metric.fit(Predictions(torch.eye(3), rows_ND), torch.tensor([0, 1, 1]), 2)
