"""The same probe images by different teachers, and what each says of them.

Legend: N probe images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rayxkd.leaderboard.evidence import Evidence
from rayxkd.leaderboard.report.closeup import Material
from rayxkd.leaderboard.report.text import class_label

_STRIP = 12


@dataclass(frozen=True)
class Guess:
    """One of the likeliest classes of a teacher: its name, the same in short, its probability."""

    name: str
    label: str
    share: float


@dataclass(frozen=True)
class Opinion:
    """What one teacher says of one image.

    Attributes:
        nearest: the class of the task to which its prediction moves at the least cost.
        is_right: whether that is the image's class.
        cost: of moving it to the right class.
        guesses: its likeliest classes.
    """

    nearest: str
    is_right: bool
    cost: float
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class Shown:
    """One image: as a data URI, its class, and an opinion for each teacher, if it is known."""

    picture: str
    label: str
    index: int
    opinions: tuple[Opinion | None, ...]


@dataclass(frozen=True)
class Gallery:
    """Images and opinions.

    Attributes:
        teachers: whose opinions.
        images: one of each class first, then another of each, and so on.
    """

    teachers: tuple[str, ...]
    images: tuple[Shown, ...]

    @classmethod
    def of(cls, material: Material, teachers: Sequence[str]) -> Gallery:
        """The images that are kept of every teacher."""
        probe = material.probe
        asked = [name for name in teachers if name in material.evidence]
        if probe is None or not asked:
            return cls((), ())
        told = {name: _places(material.evidence[name]) for name in asked}
        images = tuple(
            Shown(
                material.picture(place),
                probe.class_names[probe.labels_N[place]],
                int(probe.indices_N[place]),
                tuple(_opinion(material, name, told[name], place) for name in asked),
            )
            for place in _in_turn(material)
        )
        return cls(tuple(asked), images)


def task_strip(material: Material) -> list[tuple[str, str]]:
    """A picture and the name of each of the first classes."""
    probe = material.probe
    if probe is None:
        return []
    firsts: dict[int, int] = {}
    for place in _in_turn(material):
        if material.picture(place):
            firsts.setdefault(int(probe.labels_N[place]), place)
    chosen = sorted(firsts)[:_STRIP]
    return [(material.picture(firsts[label]), probe.class_names[label]) for label in chosen]


def _in_turn(material: Material) -> list[int]:
    """Places of the shown images, one of each class after the other."""
    probe = material.probe
    assert probe is not None
    places = np.flatnonzero(probe.shown_N).tolist()
    seen: dict[int, int] = {}
    turns = []
    for place in places:
        label = int(probe.labels_N[place])
        seen[label] = seen.get(label, 0) + 1
        turns.append((seen[label], label, place))
    return [place for _, _, place in sorted(turns)]


def _places(evidence: Evidence) -> dict[int, int]:
    return {place: number for number, place in enumerate(evidence.pictured_P.tolist())}


def _opinion(material: Material, teacher: str, told: dict[int, int], place: int) -> Opinion | None:
    evidence, probe = material.evidence[teacher], material.probe
    assert probe is not None
    if place not in told or place >= len(evidence.image_cost_N):
        return None
    number, nearest = told[place], int(evidence.nearest_N[place])
    pairs = zip(evidence.top_names[number], evidence.top_shares[number], strict=True)
    return Opinion(
        probe.class_names[nearest],
        nearest == int(probe.labels_N[place]),
        float(evidence.image_cost_N[place]),
        tuple(Guess(name, class_label(name, 30), share) for name, share in pairs),
    )
