"""What limits the ranking of teachers for linear probes: the score, or the images that it sees?

Run: ``uv run python -m tests.benchmarks.ranking_limits --data FOLDER --study FOLDER``

Takes what the teachers of ``tests/benchmarks/study.py`` said of its tasks' images, and the truth in
``tests/study/ground_truth.csv``: test accuracy of linear probes on 100 images a class. On the tasks
on which no default was chosen it ranks the teachers

- by scores that see 30 labelled images a class, as in the study,
- by the same scores where they see all 100, those that the probes of the truth were fitted to,
- by an oracle: how well the costs fitted to the 30 images do on all test images. A score that
  estimates this from the 30 images alone cannot do better, but by chance.

Prints the mean weighted Kendall tau of each over tasks.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from rayxkd.metrics import metric_named
from rayxkd.storage import Storage
from rayxkd.study.correlations import weighted_tau
from rayxkd.study.said import Words
from rayxkd.study.tasks import StudyTask, read_tasks
from rayxkd.transport import Predictions, ground_cost, score_transport, stratified_folds
from rayxkd.transport.costs.base import one_hot_NM
from tests.benchmarks.racing import teachers_of
from tests.benchmarks.study import CHOSEN_ON, settings, targets

TRUTH = Path(__file__).parents[1] / "study" / "ground_truth.csv"
COSTS = ("learned", "features")
METRICS = ("logme", "leep")


def scores(predictions: Predictions, labels_N: Tensor, classes: int) -> Iterator[tuple[str, float]]:
    """Name and value of every score; higher is better."""
    fold_N, target_NM = stratified_folds(labels_N), one_hot_NM(labels_N, classes)
    for name in COSTS:
        fitted = ground_cost(name).cross_fit(predictions, labels_N, classes, fold_N)
        yield name, -score_transport(predictions, target_NM, fitted).cost
    for name in METRICS:
        yield name, metric_named(name).fit(predictions, labels_N, classes)


def oracle(
    seen: Predictions, labels_N: Tensor, classes: int, test: Predictions, truth_T: Tensor
) -> Iterator[tuple[str, float]]:
    """What a cost fitted to the labelled images is worth on the test images; higher is better."""
    for name in COSTS:
        fitted = ground_cost(name).fit(seen, labels_N, classes)
        log_p_TM = torch.log_softmax(-(fitted.source_NK(test) @ fitted.cost_KM), dim=1)
        yield f"{name}, likelihood", float(log_p_TM.gather(1, truth_T[:, None]).mean())
        yield f"{name}, accuracy", float((log_p_TM.argmax(dim=1) == truth_T).double().mean())


def values_of(
    task: StudyTask, pool: Predictions, test: Predictions, labelled_N: NDArray[np.int64]
) -> Iterator[tuple[str, float]]:
    """Name and value of everything that one teacher is ranked by."""
    classes, labels_P = len(task.class_names), torch.from_numpy(task.pool.labels_N.copy())
    rows_N = torch.from_numpy(labelled_N)
    few, labels_N = pool.rows(rows_N), labels_P[rows_N]
    for name, value in scores(few, labels_N, classes):
        yield f"{name}, 30 images", value
    for name, value in scores(pool, labels_P, classes):
        yield f"{name}, all images", value
    truth_T = torch.from_numpy(task.test.labels_N.copy())
    for name, value in oracle(few, labels_N, classes, test, truth_T):
        yield f"oracle: {name}", value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--study", type=Path, default=Path(".bench/study/study"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = options.study.resolve()
    asked = settings(options.data.resolve(), study.parent, targets(), small=False)
    words = Words(Storage.at(str(study)).child("predictions"))
    teachers = teachers_of(study)
    with TRUTH.open() as file:
        truth = {row["teacher"]: row for row in csv.DictReader(file)}
    taus = defaultdict(list)
    tasks = [task for task in read_tasks(asked) if task.name not in CHOSEN_ON]
    for task in track(tasks, "tasks", console=Console(stderr=True)):
        found = defaultdict(list)
        labelled_N = task.draw(asked.labelled, asked.unlabelled, 0).labelled_N
        for teacher in teachers:
            pool = words.predictions(teacher, task.pool.images)
            test = words.predictions(teacher, task.test.images)
            for name, value in values_of(task, pool, test, labelled_N):
                found[name].append(value)
        probes = [float(truth[t.teacher][f"{task.name}/linear_probe"]) for t in teachers]
        for name, ranked in found.items():
            taus[name].append(weighted_tau(np.array(ranked), np.array(probes)))
    table = Table("ranked by", "mean weighted tau", "least", "most")
    for name, per_task in taus.items():
        table.add_row(name, *(f"{f(per_task):.2f}" for f in (np.mean, min, max)))
    Console().print(table)


if __name__ == "__main__":
    main()
