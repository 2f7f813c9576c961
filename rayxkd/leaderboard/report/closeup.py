"""The leading teachers one by one: what carries what, where it costs most, and how sure that is.

Legend: M target classes, N probe images.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.evidence import Evidence, EvidenceStore, ProbePictures
from rayxkd.leaderboard.explain import Explainer
from rayxkd.leaderboard.explanation import Explanation, TargetClass
from rayxkd.leaderboard.report.flow import Flow
from rayxkd.leaderboard.report.heat import HeatMap
from rayxkd.leaderboard.report.standing import Row
from rayxkd.page import Axis

# Of a large leaderboard so many of the first teachers are compared image by image.
_COMPARED = 100
_TARGETS, _CLASSES, _RIVALS = 12, 20, 3
BAR = 120


@dataclass(frozen=True)
class Material:
    """What was kept beside a leaderboard, for some of its teachers.

    Attributes:
        board: the leaderboard, its first teachers only where it is large.
        evidence: of each teacher that is looked at, by name.
        probe: the probe images; ``None`` where they were not kept.
    """

    board: Leaderboard
    evidence: dict[str, Evidence]
    probe: ProbePictures | None

    @classmethod
    def of(cls, board: Leaderboard, rows: Sequence[Row]) -> Material:
        """Read what was kept of these rows of a leaderboard."""
        first = replace(board, table=board.table.slice(0, _COMPARED))
        if board.storage is None:
            return cls(first, {}, None)
        store = EvidenceStore(board.storage)
        return cls(first, store.read(rows), store.read_pictures())

    def picture(self, place: int) -> str:
        """A probe image as a data URI; empty where there is none."""
        content = None
        if self.probe is not None and place < len(self.probe.pictures):
            content = self.probe.pictures[place]
        if content is None:
            return ""
        return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class ClassBar:
    """One class of the task and its cost as it is drawn."""

    found: TargetClass
    width: float


@dataclass(frozen=True)
class Worst:
    """An image that costs much, as it is shown."""

    picture: str
    index: int
    label: str
    nearest: str
    cost: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Closeup:
    """One teacher.

    Attributes:
        found: its explanation.
        rivals: teachers of which it is least sure who costs less: name, and how often it does.
        flow: of its mass; ``None`` where nothing was kept.
        heat: the same as a table.
        classes: of the task, the costliest first; the first of many.
        classes_left_out: how many more there are.
        targets_left_out: how many target classes flow and table leave out.
        worst: images that cost most.
    """

    found: Explanation
    rivals: tuple[tuple[str, float], ...]
    flow: Flow | None
    heat: HeatMap | None
    classes: tuple[ClassBar, ...]
    classes_left_out: int
    targets_left_out: int
    worst: tuple[Worst, ...]

    @property
    def teacher(self) -> str:
        """Its name."""
        return str(self.found.row["teacher"])


def closeups(material: Material, rows: Sequence[Row]) -> list[Closeup]:
    """Close-ups of some teachers, all of the same target classes."""
    if not rows:
        return []
    explainer = Explainer(material.board)
    found = [explainer.explain(row["teacher"]) for row in rows]
    targets = _targets(found)
    return [_closeup(material, one, targets) for one in found]


def closeup_of(material: Material, found: Explanation) -> Closeup:
    """The close-up of one teacher that is explained already."""
    return _closeup(material, found, _targets([found]))


def _targets(found: Sequence[Explanation]) -> list[int]:
    """Places of the target classes that are shown: those that cost most in the mean, in order."""
    costs = [[one.cost for one in each.classes] for each in found if each.classes]
    if not costs:
        return []
    mean_M = np.mean(costs, axis=0)
    return sorted(np.argsort(-mean_M, kind="stable")[:_TARGETS].tolist())


def _rivals(found: Explanation) -> list[tuple[str, float]]:
    if found.certainty is None:
        return []
    beats = found.certainty.beats
    others = [(name, share) for name, share in beats.items() if name != found.row["teacher"]]
    return sorted(others, key=lambda other: abs(other[1] - 0.5))[:_RIVALS]


def _closeup(material: Material, found: Explanation, targets: Sequence[int]) -> Closeup:
    teacher = found.row["teacher"]
    evidence = material.evidence.get(teacher)
    probe = material.probe
    if evidence is None or probe is None or not found.classes:
        return Closeup(found, (), None, None, (), 0, 0, ())
    names = probe.class_names
    ordered = sorted(found.classes, key=lambda one: -one.cost)
    axis = Axis(0, max(ordered[0].cost, 1e-9), 0, BAR)
    worst = tuple(
        Worst(material.picture(one.place), one.index, one.label, one.nearest, one.cost, one.top)
        for one in found.worst
    )
    return Closeup(
        found,
        tuple(_rivals(found)),
        Flow.of(evidence, names, targets),
        HeatMap.of(evidence, names, targets),
        tuple(ClassBar(one, axis.at(one.cost)) for one in ordered[:_CLASSES]),
        max(0, len(ordered) - _CLASSES),
        len(names) - len(targets),
        worst,
    )
