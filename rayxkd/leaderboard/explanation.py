"""What there is to say of one teacher's rank, worked out of what was kept of it.

Legend: S teacher classes, M target classes, N probe images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayxkd.leaderboard.certainty import Certainty
from rayxkd.leaderboard.evidence import Evidence, ProbePictures

Row = dict[str, Any]

_WORST, _PAIRS = 5, 5


@dataclass(frozen=True)
class Pair:
    """A teacher class that carries a target class.

    Attributes:
        source: name of the teacher class.
        share: of the mass that the target class receives, what comes from it.
        lift: how many times as much as if mass were moved at random.
        cost: ground cost of moving it there, less its mean over the target classes.
    """

    source: str
    share: float
    lift: float
    cost: float


@dataclass(frozen=True)
class TargetClass:
    """What the teacher makes of one class of the task.

    Attributes:
        name: of the class.
        images: probe images of it.
        cost: their mean transport cost.
        accuracy: share of them whose prediction moves to it at the least cost of all classes.
        confused: the class to which most others move, and their share; ``None`` where none does.
        pairs: what carries it, the one that is most above chance first.
    """

    name: str
    images: int
    cost: float
    accuracy: float
    confused: tuple[str, float] | None
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class WorstImage:
    """A probe image that costs much.

    Attributes:
        place: in the probe set, from 0.
        index: in the image set that was given, from 0.
        label: its class.
        cost: its transport cost.
        nearest: the class to which its prediction moves at the least cost.
        top: the likeliest teacher classes with their probabilities at temperature 1.
    """

    place: int
    index: int
    label: str
    cost: float
    nearest: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class OtherScore:
    """What another metric says.

    Attributes:
        name: of its column.
        value: of this teacher.
        rank: by this metric alone, from 1.
        teachers: how many have a value.
    """

    name: str
    value: float
    rank: int
    teachers: int


@dataclass(frozen=True)
class Explanation:
    """Why a teacher stands where it does.

    Attributes:
        row: of the leaderboard.
        unit: of costs.
        teachers: how many have a rank.
        tied: how many have an interval that overlaps the leader's, this one included if it does.
        scores: what the other metrics say.
        temperature: of the softmax whose mass the pairs tell; ``None`` without evidence.
        classes: of the task; empty without evidence.
        worst: the images that cost most; empty without evidence.
        certainty: of the rank; ``None`` without evidence.
        missing: why there is no evidence, and how to get it; else empty.
    """

    row: Row
    unit: str
    teachers: int
    tied: int
    scores: tuple[OtherScore, ...]
    temperature: float | None = None
    classes: tuple[TargetClass, ...] = ()
    worst: tuple[WorstImage, ...] = ()
    certainty: Certainty | None = None
    missing: str = ""

    @property
    def accuracy(self) -> float | None:
        """Share of all probe images whose prediction moves to their own class at least cost."""
        images = sum(one.images for one in self.classes)
        right = sum(one.images * one.accuracy for one in self.classes)
        return right / images if images else None


def target_classes(evidence: Evidence, probe: ProbePictures) -> Iterator[TargetClass]:
    """What a teacher makes of each class of the task, in the order of the labels."""
    for label, name in enumerate(probe.class_names):
        of_class_N = probe.labels_N == label
        nearest = Counter(evidence.nearest_N[of_class_N].tolist())
        images = int(of_class_N.sum())
        if not images:
            continue
        right = nearest.pop(label, 0)
        confused = None
        if nearest:
            other, count = nearest.most_common(1)[0]
            confused = probe.class_names[other], count / images
        yield TargetClass(
            name,
            images,
            cost=float(evidence.image_cost_N[of_class_N].mean()),
            accuracy=right / images,
            confused=confused,
            pairs=tuple(_pairs(evidence, label)),
        )


def _pairs(evidence: Evidence, label: int) -> Iterator[Pair]:
    """The teacher classes with most mass above chance for one target class."""
    target_mass = float(evidence.target_mass_M[label])
    mass_S, source_S = evidence.map_SM[:, label], evidence.map_SM.sum(axis=1)
    chance_S = source_S * target_mass
    cost_S = evidence.cost_SM[:, label] - evidence.cost_SM.mean(axis=1)
    for place in np.argsort(chance_S - mass_S, kind="stable")[:_PAIRS].tolist():
        if mass_S[place] > chance_S[place]:
            yield Pair(
                evidence.source_names[place],
                share=float(mass_S[place]) / target_mass,
                lift=float(mass_S[place] / chance_S[place]),
                cost=float(cost_S[place]),
            )


def worst_images(evidence: Evidence, probe: ProbePictures) -> Iterator[WorstImage]:
    """The images that cost most, the worst first."""
    told = {place: number for number, place in enumerate(evidence.pictured_P.tolist())}
    for place in np.argsort(-evidence.image_cost_N, kind="stable")[:_WORST].tolist():
        top: tuple[tuple[str, float], ...] = ()
        if place in told:
            number = told[place]
            top = tuple(zip(evidence.top_names[number], evidence.top_shares[number], strict=True))
        yield WorstImage(
            place=place,
            index=int(probe.indices_N[place]),
            label=probe.class_names[probe.labels_N[place]],
            cost=float(evidence.image_cost_N[place]),
            nearest=probe.class_names[evidence.nearest_N[place]],
            top=top,
        )
