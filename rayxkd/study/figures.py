"""Where the marks of the report's figures lie; templates draw them.

Places are those of an SVG: x to the right, y downwards, in the units of its view box.

Legend: T teachers, R rankers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from rayxkd.page import Axis
from rayxkd.study.analysis import RankerReport, TaskTruth, TruthReport
from rayxkd.study.choices import regret_curve
from rayxkd.study.correlations import Floats, rank_correlations

# Shown of a logarithmic axis, as far as they lie on it.
_BUDGETS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Point:
    """A teacher in a scatter plot.

    Attributes:
        teacher: its name.
        x: where its score lies.
        y: where its accuracy lies.
        score: higher is better; the mean over draws.
        accuracy: the mean over seeds.
        is_choice: whether the score puts it first.
        is_best: whether no teacher is better in truth.
    """

    teacher: str
    x: float
    y: float
    score: float
    accuracy: float
    is_choice: bool
    is_best: bool


@dataclass(frozen=True)
class Scatter:
    """Score against accuracy on one task.

    Attributes:
        task: its name.
        weighted_tau: the mean over draws.
        points: one a teacher, in the order of the report.
        x: the axis of scores.
        y: the axis of accuracies, in percent.
    """

    task: str
    weighted_tau: float
    points: tuple[Point, ...]
    x: Axis
    y: Axis

    @classmethod
    def of(cls, task: TaskTruth, ranker: RankerReport, teachers: Sequence[str]) -> Scatter:
        """The plot of one ranker on one task."""
        score_T = task.scores[ranker.name].mean(axis=0)
        percent_T = 100 * task.mean_T
        x, y = Axis.around(score_T, 32, 186), Axis.around(percent_T, 138, 6)
        points = [
            Point(
                teacher,
                x.at(score),
                y.at(percent),
                score,
                percent / 100,
                score == score_T.max(),
                percent == percent_T.max(),
            )
            for teacher, score, percent in zip(teachers, score_T, percent_T, strict=True)
        ]
        return cls(task.task, ranker.by_task[task.task], tuple(points), x, y)

    @property
    def choices(self) -> list[Point]:
        """What the score puts first: several where they are tied."""
        return [point for point in self.points if point.is_choice]

    @property
    def best(self) -> list[Point]:
        """The best teachers in truth."""
        return [point for point in self.points if point.is_best]


@dataclass(frozen=True)
class Curve:
    """Regret for every budget.

    Attributes:
        name: what is followed.
        style: how it is drawn: default, published, trivial, control or chance.
        regrets_k: accuracy points lost where k teachers are tried, for k = 1, 2, ...
        path: of an SVG.
    """

    name: str
    style: str
    regrets_k: Floats
    path: str


@dataclass(frozen=True)
class Curves:
    """Regret of several rankers against one truth.

    Attributes:
        report: of which truth.
        curves: one a ranker.
        x: the axis of budgets.
        y: the axis of accuracy points.
        budgets: those that are marked.
    """

    report: TruthReport
    curves: tuple[Curve, ...]
    x: Axis
    y: Axis
    budgets: tuple[int, ...]

    @classmethod
    def of(cls, report: TruthReport, followed: Sequence[tuple[str, RankerReport]]) -> Curves:
        """Curves of rankers, each with its style, and of trying teachers in any order."""
        chance = [
            regret_curve(np.zeros(len(report.teachers)), task.mean_T) for task in report.tasks
        ]
        drawn = [(ranker.name, style, ranker.regrets_k) for style, ranker in followed]
        drawn.append(("any order", "chance", np.mean(chance, axis=0)))
        most = max(float(regrets_k.max()) for *_, regrets_k in drawn)
        x = Axis(1, max(2, len(report.teachers)), 40, 408, is_logarithmic=True)
        y = Axis(0, 1.05 * most or 1.0, 226, 8)
        curves = [
            Curve(name, style, regrets_k, _path(x, y, regrets_k))
            for name, style, regrets_k in drawn
        ]
        budgets = tuple(k for k in _BUDGETS if k <= len(report.teachers))
        return cls(report, tuple(curves), x, y, budgets)


def _path(x: Axis, y: Axis, regrets_k: Floats) -> str:
    points = (f"{x.at(k):g},{y.at(regret):g}" for k, regret in enumerate(regrets_k, 1))
    return "M" + "L".join(points)


@dataclass(frozen=True)
class Kinship:
    """How alike rankers rank.

    Attributes:
        report: on the tasks of which truth.
        rankers: in an order in which those that rank alike stand together.
        correlation_RR: Spearman correlation between any two.
    """

    report: TruthReport
    rankers: tuple[RankerReport, ...]
    correlation_RR: Floats

    @classmethod
    def of(cls, report: TruthReport) -> Kinship:
        """The kinship of a report's rankers."""
        names = [ranker.name for ranker in report.rankers]
        found = [_correlations(task, names) for task in report.tasks]
        correlation_RR: Floats = np.mean(found, axis=0)
        order = _clustered(correlation_RR)
        rankers = tuple(report.rankers[place] for place in order)
        return cls(report, rankers, correlation_RR[np.ix_(order, order)])


def _correlations(task: TaskTruth, names: Sequence[str]) -> Floats:
    """Spearman correlation on one task, the mean over draws.

    What depends on no draw is there once, and counts for each.
    """
    draws = max(len(task.scores[name]) for name in names)
    found = [
        rank_correlations(
            {name: task.scores[name][draw % len(task.scores[name])] for name in names}
        )
        for draw in range(draws)
    ]
    mean_RR: Floats = np.mean(found, axis=0)
    return mean_RR


def _clustered(correlation_RR: Floats) -> list[int]:
    """An order of the rankers in which similar ones are neighbours."""
    if len(correlation_RR) < 3:
        return list(range(len(correlation_RR)))
    distance_RR = np.clip(1 - (correlation_RR + correlation_RR.T) / 2, 0, 2)
    np.fill_diagonal(distance_RR, 0)
    tree = linkage(squareform(distance_RR, checks=False), "average", optimal_ordering=True)
    return [int(place) for place in leaves_list(tree)]
