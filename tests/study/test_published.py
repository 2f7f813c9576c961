"""The correlation code on tables that others published.

Model Spider (Zhang et al., NeurIPS 2023, https://github.com/zhangyikaii/Model-Spider) lists the
accuracy of 10 fine-tuned ImageNet models on ten data sets, and nine scores of them on the eight of
these that are classified; higher is better in every column. PARC (Bolya et al., NeurIPS 2021,
https://github.com/dbolya/parc) lists that of 28 models on each of seven data sets.
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rayxkd.study.choices import regret
from rayxkd.study.correlations import pearson, spearman, weighted_tau

# Layers, which PARC adds to every score as a model's capacity to learn.
LAYERS = {"resnet50": 50, "resnet18": 18, "googlenet": 22, "alexnet": 8}


@pytest.fixture(scope="module")
def benchmarks(shared: Path) -> Path:
    folder = shared / "benchmarks"
    if not folder.is_dir():
        pytest.skip(f"needs published tables in {folder}")
    return folder


@pytest.fixture(scope="module")
def spider(benchmarks: Path) -> dict[str, dict[str, np.ndarray]]:
    """By data set: accuracy and every score of the models, each [T]."""
    accuracies = {
        (row["Dataset"], row["Model"]): row["Accuracy"]
        for row in csv.DictReader((benchmarks / "modelspider_accuracies.csv").open())
    }
    columns: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in csv.DictReader((benchmarks / "modelspider_baseline_results.csv").open()):
        data_set, model = row.pop("Dataset"), row.pop("Model")
        for name, value in {**row, "Accuracy": accuracies[data_set, model]}.items():
            columns[data_set][name].append(float(value))
    return {
        data_set: {name: np.array(values) for name, values in found.items()}
        for data_set, found in columns.items()
    }


@pytest.fixture(scope="module")
def parc(benchmarks: Path) -> dict[str, dict[tuple[str, str], float]]:
    """By data set: accuracy in [0, 1] of every model, which is architecture and source."""
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in csv.DictReader((benchmarks / "parc_oracles_controlled.csv").open()):
        model = row["Architecture"], row["Source Dataset"]
        found[row["Target Dataset"]][model] = float(row["Oracle"]) / 100
    return found


def test_eight_data_sets_of_ten_models(spider):
    assert sorted(spider) == sorted(
        ["Aircraft", "CIFAR10", "CIFAR100", "Caltech101", "Cars", "DTD", "Pet", "SUN397"]
    )
    assert {len(found["Accuracy"]) for found in spider.values()} == {10}


@pytest.mark.parametrize(
    ("name", "recomputed"),
    [
        ("LogME", 0.675),
        ("H-Score", 0.657),
        ("NCE", 0.655),
        ("NLEEP", 0.491),
        ("LEEP", 0.429),
        ("OTCE", 0.184),
        ("GBC", 0.155),
        ("LFC", 0.038),
    ],
)
def test_weighted_tau_of_published_scores(spider, name, recomputed):
    taus = [weighted_tau(found[name], found["Accuracy"]) for found in spider.values()]
    assert np.mean(taus) == pytest.approx(recomputed, abs=0.001)


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [
        ("H-Score", 0.648, 0.001),
        ("NCE", 0.666, 0.001),
        ("OTCE", 0.149, 0.001),
        ("PACTranDirichlet", 0.397, 0.001),
        ("GBC", 0.095, 0.001),
        ("LFC", 0.034, 0.001),
        ("LogME", 0.676, 0.006),
        ("LEEP", 0.408, 0.006),
        ("NLEEP", 0.454, 0.006),
    ],
)
def test_published_values_weigh_by_the_ranks_of_truth_alone(spider, name, published, tolerance):
    """Why they differ from the recomputed ones: this is how the authors' code calls SciPy."""
    taus = [
        stats.weightedtau(found["Accuracy"], found[name], rank=None).statistic
        for found in spider.values()
    ]
    assert np.mean(taus) == pytest.approx(published, abs=tolerance)


def test_each_of_seven_data_sets_has_28_models(parc):
    assert {len(found) for found in parc.values()} == {28}
    assert len(parc) == 7


def test_depth_says_half_of_how_good_a_model_is(parc):
    """Mean Pearson correlation x 100, as PARC reports it, by NumPy's formula and by ours."""
    found = {
        target: ([float(LAYERS[architecture]) for architecture, _ in models], [*models.values()])
        for target, models in parc.items()
    }
    ours = [pearson(*map(np.array, pair)) for pair in found.values()]
    assert ours == pytest.approx([np.corrcoef(*pair)[0, 1] for pair in found.values()])
    assert 100 * np.mean(ours) == pytest.approx(52.6, abs=0.05)


def test_the_best_on_average_is_hard_to_beat(parc):
    """A model's mean accuracy on the other data sets, against that on each."""
    scores, truths = zip(*(elsewhere(parc, target) for target in parc), strict=True)
    pairs = list(zip(scores, truths, strict=True))
    assert 100 * np.mean([pearson(*pair) for pair in pairs]) == pytest.approx(62.7, abs=0.05)
    assert np.mean([spearman(*pair) for pair in pairs]) == pytest.approx(0.655, abs=0.0005)
    assert np.mean([weighted_tau(*pair) for pair in pairs]) == pytest.approx(0.616, abs=0.0005)
    for score_T, truth_T in pairs:
        assert regret(score_T, truth_T) == pytest.approx(
            100 * (truth_T.max() - truth_T[score_T.argmax()])
        )


def elsewhere(parc, target):
    """Mean accuracy of each model on all data sets but one, and accuracy there."""
    others = [found for name, found in parc.items() if name != target]
    models = parc[target]
    score_T = [np.mean([found[model] for found in others if model in found]) for model in models]
    return np.array(score_T), np.array([*models.values()])
