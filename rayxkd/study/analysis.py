"""From tables of scores and truth to what every ranker is worth.

Legend: T teachers, S seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayxkd.status import Status
from rayxkd.study.agreement import Agreement, agreement
from rayxkd.study.choices import regret_curve
from rayxkd.study.intervals import Interval, PairedTest, interval_over_tasks, paired_test
from rayxkd.study.rankers import DEFAULT_RANKER, Ranker, rankers
from rayxkd.study.reliability import ceiling, reliability
from rayxkd.study.results import Results
from rayxkd.study.truth import PROBE, STUDENT

Floats = NDArray[np.float64]
STATISTICS = tuple(field.name for field in fields(Agreement))
_BEST_ON_AVERAGE = "best on average"

AGREEMENT = pa.schema(
    [
        ("truth", pa.string()),
        ("tasks", pa.string()),
        ("ranker", pa.string()),
        ("group", pa.string()),
        ("statistic", pa.string()),
        ("mean", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("over_default", pa.float64()),
        ("p_value", pa.float64()),
        ("share_of_forward", pa.float64()),
    ]
)


@dataclass(frozen=True)
class TaskTruth:
    """What is true of the teachers on one task.

    Attributes:
        task: its name.
        accuracy_ST: of what was made from each teacher, for each seed of students, or each part of
            the test images for linear probes.
        scores: by ranker, oriented so that higher is better, [S, T].
    """

    task: str
    accuracy_ST: Floats
    scores: Mapping[str, Floats]

    @property
    def mean_T(self) -> Floats:
        """Accuracy, the mean over seeds."""
        mean_T: Floats = self.accuracy_ST.mean(axis=0)
        return mean_T

    @cached_property
    def reliability(self) -> float | None:
        """See :func:`reliability`; ``None`` where there is one seed."""
        return reliability(self.accuracy_ST) if len(self.accuracy_ST) > 1 else None

    @cached_property
    def ceiling(self) -> float | None:
        """See :func:`ceiling`, which simulates; ``None`` where there is one seed."""
        return ceiling(self.accuracy_ST) if len(self.accuracy_ST) > 1 else None

    def agreements(self, ranker: str) -> list[Agreement]:
        """How well a ranker's scores agree with the truth: one for each draw of the probe set."""
        return [agreement(score_T, self.mean_T) for score_T in self.scores[ranker]]


@dataclass(frozen=True)
class RankerReport:
    """What one ranker is worth against one truth.

    Attributes:
        name: of the ranker.
        group: transport, control, published, trained or trivial.
        meaning: in a few words.
        statistics: mean over tasks and draws with its interval, by name of the statistic.
        by_task: weighted tau on each task, the mean over draws.
        against_default: weighted tau less that of the default, paired over tasks.
        share_of_forward: median over teachers and draws of its time over that of the teacher's
            forward pass on the probe set.
        regrets_k: mean regret in accuracy points where the best k are tried, for k = 1, 2, ...
    """

    name: str
    group: str
    meaning: str
    statistics: Mapping[str, Interval]
    by_task: Mapping[str, float]
    against_default: PairedTest
    share_of_forward: float
    regrets_k: Floats


@dataclass(frozen=True)
class TruthReport:
    """All rankers against one truth on some tasks.

    Attributes:
        kind: linear probe or student.
        chosen: whether by these tasks something was chosen; else they served for nothing else.
        tasks: the truth of each task.
        teachers: names, in the order of the arrays.
        reliability: of the mean over seeds (or parts of the test images): the share of its variance
            between teachers that is no noise, the mean over tasks; ``None`` where there is but one.
        ceiling: weighted tau that a perfect score could be expected to reach, the mean over tasks;
            ``None`` likewise.
        rankers: the best first, by weighted tau.
    """

    kind: str
    chosen: bool
    tasks: tuple[TaskTruth, ...]
    teachers: tuple[str, ...]
    reliability: float | None
    ceiling: float | None
    rankers: tuple[RankerReport, ...]


def analyse(results: Results, chosen_on: Sequence[str]) -> list[TruthReport]:
    """Compare all rankers with all truths, on tasks that served to choose something and on others.

    Args:
        results: tables of the study.
        chosen_on: names of the tasks by which something was chosen.
    """
    forward = _forward_seconds(results.teachers)
    reports = []
    for kind in (PROBE, STUDENT):
        tasks, teachers = _truths(results, kind)
        for chosen in (False, True):
            part = [task for task in tasks if (task.task in chosen_on) == chosen]
            if part:
                times = _shares_of_forward(results.scores, forward, {task.task for task in part})
                reports.append(_report(kind, chosen, part, teachers, times))
    return reports


def agreement_table(reports: Sequence[TruthReport]) -> pa.Table:
    """One row a truth, set of tasks, ranker and statistic."""
    rows = [
        {
            "truth": report.kind,
            "tasks": "chosen on" if report.chosen else "reported",
            "ranker": ranker.name,
            "group": ranker.group,
            "statistic": name,
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "over_default": ranker.against_default.difference.mean
            if name == STATISTICS[0]
            else None,
            "p_value": ranker.against_default.p_value if name == STATISTICS[0] else None,
            "share_of_forward": ranker.share_of_forward,
        }
        for report in reports
        for ranker in report.rankers
        for name, interval in ranker.statistics.items()
    ]
    return pa.Table.from_pylist(rows, schema=AGREEMENT)


def _truths(results: Results, kind: str) -> tuple[list[TaskTruth], tuple[str, ...]]:
    """The truth of every task that has it for every teacher, and the teachers."""
    teachers = tuple(
        row["teacher"] for row in results.teachers.to_pylist() if row["status"] == Status.OK
    )
    accuracy = _by_task(
        [row for row in results.truth.to_pylist() if row["kind"] == kind and row["teacher"]],
        lambda _: "accuracy",
        "accuracy",
        teachers,
    )
    scores = _by_task(results.scores.to_pylist(), lambda row: row["ranker"], "score", teachers)
    oriented = {
        task: {
            name: values if _known(name).higher_is_better else -values
            for name, values in found.items()
        }
        for task, found in scores.items()
    }
    tasks = [
        TaskTruth(task, found["accuracy"], oriented[task])
        for task, found in accuracy.items()
        if task in oriented
    ]
    return [_with_best_on_average(task, tasks) for task in tasks], teachers


def _by_task(
    rows: Sequence[Mapping[str, Any]], name_of: Any, value: str, teachers: Sequence[str]
) -> dict[str, dict[str, Floats]]:
    """Values by task and name, [S, T]; what is not there for every teacher is left out."""
    place = {teacher: number for number, teacher in enumerate(teachers)}
    cells: dict[tuple[str, str], dict[int, Floats]] = defaultdict(dict)
    for row in rows:
        values = cells[row["task"], name_of(row)]
        if row["teacher"] in place:
            values.setdefault(row["seed"], np.full(len(teachers), np.nan))
            values[row["seed"]][place[row["teacher"]]] = row[value]
    found: dict[str, dict[str, Floats]] = defaultdict(dict)
    for (task, name), by_seed in cells.items():
        whole = [by_seed[seed] for seed in sorted(by_seed) if not np.isnan(by_seed[seed]).any()]
        if whole:
            found[task][name] = np.stack(whole)
    return found


def _with_best_on_average(task: TaskTruth, tasks: Sequence[TaskTruth]) -> TaskTruth:
    """With the ranker that knows how good each teacher is on all other tasks."""
    others = [other.mean_T for other in tasks if other.task != task.task]
    if not others:
        return task
    scores = {**task.scores, _BEST_ON_AVERAGE: np.mean(others, axis=0)[None]}
    return TaskTruth(task.task, task.accuracy_ST, scores)


def _known(name: str) -> Ranker:
    if name == _BEST_ON_AVERAGE:
        meaning = "mean accuracy on all other tasks, which takes their truth"
        return Ranker(lambda _: 0.0, True, "trivial", meaning)
    return rankers()[name]


def _report(
    kind: str,
    chosen: bool,
    tasks: Sequence[TaskTruth],
    teachers: tuple[str, ...],
    shares: Mapping[str, float],
) -> TruthReport:
    names = set.intersection(*(set(task.scores) for task in tasks))
    found = {name: [task.agreements(name) for task in tasks] for name in names}
    reports = [_ranker_report(name, tasks, found, shares) for name in names]
    reports.sort(key=lambda report: (-report.statistics[STATISTICS[0]].mean, report.name))
    return TruthReport(
        kind,
        chosen,
        tuple(tasks),
        teachers,
        _mean_of_known([task.reliability for task in tasks]),
        _mean_of_known([task.ceiling for task in tasks]),
        tuple(reports),
    )


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _ranker_report(
    name: str,
    tasks: Sequence[TaskTruth],
    found: Mapping[str, Sequence[Sequence[Agreement]]],
    shares: Mapping[str, float],
) -> RankerReport:
    def values(ranker: str, statistic: str) -> list[Floats]:
        return [np.array([getattr(one, statistic) for one in of_task]) for of_task in found[ranker]]

    first = values(name, STATISTICS[0])
    default = values(DEFAULT_RANKER, STATISTICS[0]) if DEFAULT_RANKER in found else first
    curves = [regret_curve(score_T, task.mean_T) for task in tasks for score_T in task.scores[name]]
    known = _known(name)
    return RankerReport(
        name,
        known.group,
        known.meaning,
        {statistic: interval_over_tasks(values(name, statistic)) for statistic in STATISTICS},
        {task.task: float(tau.mean()) for task, tau in zip(tasks, first, strict=True)},
        paired_test(first, default),
        shares.get(name, 0.0),
        np.mean(curves, axis=0),
    )


def _forward_seconds(teachers: pa.Table) -> dict[str, float]:
    """Seconds that each teacher takes for one view."""
    return {
        row["teacher"]: row["forward_seconds"] / row["views"]
        for row in teachers.to_pylist()
        if row["status"] == Status.OK and row["views"]
    }


def _shares_of_forward(
    scores: pa.Table, forward: Mapping[str, float], tasks: set[str]
) -> dict[str, float]:
    """By ranker, the median of its seconds over those of the forward pass."""
    shares: dict[str, list[float]] = defaultdict(list)
    for row in scores.to_pylist():
        if row["task"] in tasks and row["teacher"] in forward:
            shares[row["ranker"]].append(
                row["seconds"] / (forward[row["teacher"]] * row["probe_images"])
            )
    return {name: float(np.median(found)) for name, found in shares.items()}
