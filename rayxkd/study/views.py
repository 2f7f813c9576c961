"""What the report shows of a study, worked out; templates put it into words.

Legend: T teachers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rayxkd.page import MINUS, Axis
from rayxkd.status import Status
from rayxkd.study.analysis import RankerReport, TaskTruth, TruthReport
from rayxkd.study.figures import Curves, Scatter
from rayxkd.study.rankers import DEFAULT_RANKER
from rayxkd.study.results import Results
from rayxkd.study.show import cells

# Groups of rankers that neither train something for each teacher nor are meant to fail.
_TRAINING_FREE = ("transport", "published", "trivial")
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class TruthView:
    """What the page shows of one truth.

    Attributes:
        id: of its tables on the page.
        report: rankers against it.
    """

    id: str
    report: TruthReport

    @property
    def title(self) -> str:
        """Which truth it is, in a few words."""
        return f"{self.report.kind.capitalize()} accuracy, {self.use} for choosing"

    @property
    def use(self) -> str:
        """What its tasks served for."""
        count, noun = len(self.report.tasks), "task" if len(self.report.tasks) == 1 else "tasks"
        return f"{count} {noun} {'used' if self.report.chosen else 'not used'}"

    def cells(self, ranker: RankerReport) -> list[str]:
        """A ranker's row: its name, its group and figures."""
        name, group, *figures = cells(ranker)
        return [name, group, *(figure.replace("-", MINUS) for figure in figures)]

    @property
    def axis(self) -> Axis:
        """Of weighted tau, as drawn in the table."""
        taus = [ranker.statistics["weighted_tau"] for ranker in self.report.rankers]
        lows = [tau.mean if math.isnan(tau.low) else tau.low for tau in taus]
        return Axis(min(-0.2, *lows), 1, 3, 117)

    @property
    def default(self) -> RankerReport | None:
        """The default score, where it is part of the study."""
        found = [ranker for ranker in self.report.rankers if ranker.name == DEFAULT_RANKER]
        return found[0] if found else None

    @property
    def share_of_ceiling(self) -> float | None:
        """Weighted tau of the default over what a perfect score could be expected to reach."""
        if self.default is None or not self.report.ceiling:
            return None
        return self.default.statistics["weighted_tau"].mean / self.report.ceiling

    @property
    def rivals(self) -> list[RankerReport]:
        """Other scores that train nothing, the best first."""
        return [
            ranker
            for ranker in self.report.rankers
            if ranker.group in _TRAINING_FREE and ranker.name != DEFAULT_RANKER
        ]

    @property
    def above(self) -> list[RankerReport]:
        """Those of them that the default does not reach."""
        return [ranker for ranker in self.rivals if _lead(ranker) > 0]

    @property
    def surely_above(self) -> list[RankerReport]:
        """Those whose lead is more than chance gives."""
        return [one for one in self.above if one.against_default.p_value < _SIGNIFICANT]

    @property
    def least_p_value(self) -> float:
        """What a paired test of so many tasks can give at least."""
        return min(1.0, 2.0 ** (1 - len(self.report.tasks)))

    def best_of(self, *groups: str) -> RankerReport | None:
        """The best ranker of some groups, the default apart."""
        found = [
            ranker
            for ranker in self.report.rankers
            if ranker.group in groups and ranker.name != DEFAULT_RANKER
        ]
        return found[0] if found else None

    @property
    def controls(self) -> list[RankerReport]:
        """Scores that should find nothing."""
        return [ranker for ranker in self.report.rankers if ranker.group == "control"]

    def scatters(self, ranker: RankerReport) -> list[Scatter]:
        """Its score against accuracy, task by task."""
        report = self.report
        return [Scatter.of(task, ranker, report.teachers) for task in report.tasks]

    @property
    def followed(self) -> list[RankerReport]:
        """The default, and the best rival that is no transport."""
        both = (self.default, self.best_of("published", "trivial"))
        return [ranker for ranker in both if ranker is not None]

    @property
    def curves(self) -> Curves:
        """Regret against budget of the default, the best of its rivals, and the worst control."""
        followed = [
            ("default", self.default),
            ("published", self.best_of("published")),
            ("trivial", self.best_of("trivial")),
            ("control", self.best_of("control")),
        ]
        return Curves.of(self.report, [(style, one) for style, one in followed if one is not None])


def _lead(ranker: RankerReport) -> float:
    return ranker.against_default.difference.mean


@dataclass(frozen=True)
class Times:
    """How long rankers take.

    Attributes:
        rankers: those that take time, the quickest first.
        axis: of their time over that of the teacher's forward pass.
    """

    rankers: tuple[RankerReport, ...]
    axis: Axis

    @classmethod
    def of(cls, report: TruthReport) -> Times | None:
        """The times of a report's rankers, if there are any."""
        timed = [ranker for ranker in report.rankers if ranker.share_of_forward > 0]
        if not timed:
            return None
        timed.sort(key=lambda ranker: (ranker.share_of_forward, ranker.name))
        shares = [*(ranker.share_of_forward for ranker in timed), 1.0]
        axis = Axis(min(shares) / 2, max(shares) * 2, 0, 160, is_logarithmic=True)
        return cls(tuple(timed), axis)


@dataclass(frozen=True)
class ReliabilityRow:
    """How far the truth of one task can be trusted.

    Attributes:
        kind: of the truth.
        task: its name.
        seeds: how many.
        mean: accuracy, over teachers and seeds.
        lowest: of the worst teacher.
        highest: of the best.
        alone: accuracy of students of labels alone; ``None`` where there are none.
        reliability: ``None`` where there is one seed only.
        ceiling: likewise.
    """

    kind: str
    task: str
    seeds: int
    mean: float
    lowest: float
    highest: float
    alone: float | None
    reliability: float | None
    ceiling: float | None

    @classmethod
    def of(cls, kind: str, task: TaskTruth, alone: float | None) -> ReliabilityRow:
        """The row of one task."""
        mean_T = task.mean_T
        return cls(
            kind,
            task.task,
            len(task.accuracy_ST),
            float(mean_T.mean()),
            float(mean_T.min()),
            float(mean_T.max()),
            alone,
            task.reliability,
            task.ceiling,
        )


def reliability_rows(report: TruthReport, results: Results) -> list[ReliabilityRow]:
    """One row a task."""
    alone: dict[str, list[float]] = defaultdict(list)
    for row in results.truth.to_pylist():
        if row["teacher"] is None and row["kind"] == report.kind:
            alone[row["task"]].append(row["accuracy"])
    means = {task: float(np.mean(found)) for task, found in alone.items()}
    return [ReliabilityRow.of(report.kind, task, means.get(task.task)) for task in report.tasks]


@dataclass(frozen=True)
class TeacherRow:
    """A teacher that was asked.

    Attributes:
        name: of the teacher.
        class_names: what it tells apart.
        parameters: how many numbers it has.
        own_accuracy: on its own classes, where its card says so.
        accuracies: by kind of truth, the mean over tasks.
    """

    name: str
    class_names: tuple[str, ...]
    parameters: int
    own_accuracy: float | None
    accuracies: Mapping[str, float]


def teacher_rows(reports: Sequence[TruthReport], results: Results) -> list[TeacherRow]:
    """The teachers that could be asked, the best first."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for report in reports:
        for task in report.tasks:
            for teacher, accuracy in zip(report.teachers, task.mean_T, strict=True):
                found[teacher][report.kind].append(float(accuracy))
    rows = [
        TeacherRow(
            row["teacher"],
            tuple(row["class_names"]),
            row["parameters"],
            row["own_accuracy"],
            {kind: float(np.mean(values)) for kind, values in found[row["teacher"]].items()},
        )
        for row in results.teachers.to_pylist()
        if row["status"] == Status.OK
    ]
    return sorted(rows, key=lambda row: ([-value for value in row.accuracies.values()], row.name))


def failures(results: Results) -> dict[tuple[str, str], list[str]]:
    """Teachers that could not be asked, by status and reason."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in results.teachers.to_pylist():
        if row["status"] != Status.OK:
            found[row["status"], row["reason"] or "no reason was given"].append(row["teacher"])
    return dict(sorted(found.items()))
