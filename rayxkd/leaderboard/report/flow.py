"""A teacher's transport map as a flow of mass between named classes (a Sankey diagram).

Legend: S teacher classes that are kept, M target classes, R classes that are shown by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayxkd.leaderboard.evidence import Evidence
from rayxkd.leaderboard.report.heat import telling
from rayxkd.leaderboard.report.text import class_label

WIDTH = 760
LEFT, RIGHT, BREADTH = 196, 606, 9  # where the nodes stand, and how broad they are
_MASS = 380  # height of all mass together
_SLOT, _GAP, _TOP = 17.0, 4.0, 6.0  # room that every name needs
_COLOURS = 10
_CHANCE = 1.1  # times as much as by chance: no more than that tells little
_SOURCES_A_TARGET, _SOURCES = 3, 22
OTHERS = "all other classes"


@dataclass(frozen=True)
class Node:
    """One class.

    Attributes:
        name: of the class.
        label: the same in short.
        share: of all mass shown.
        y: where it begins.
        height: as its share.
        middle: of its name.
        colour: a number, or ``None`` for what has none of its own.
    """

    name: str
    label: str
    share: float
    y: float
    height: float
    middle: float
    colour: int | None


@dataclass(frozen=True)
class Link:
    """Mass that moves.

    Attributes:
        source: name of the teacher class.
        target: name of the target class.
        share: of all mass shown.
        path: its outline.
        colour: of its target.
        is_rest: whether it comes from classes that have no name here.
        is_weak: whether it is hardly more than chance moves.
    """

    source: str
    target: str
    share: float
    path: str
    colour: int
    is_rest: bool
    is_weak: bool

    @property
    def order(self) -> tuple[bool, bool]:
        """In which they are drawn: what tells most lies on top."""
        return not self.is_rest, not self.is_weak


@dataclass(frozen=True)
class Flow:
    """Where a teacher's mass comes from and goes to.

    Attributes:
        sources: teacher classes from above, those without a name last.
        targets: target classes.
        links: between them.
        height: of the figure.
        rest: share of mass from classes without a name.
    """

    sources: tuple[Node, ...]
    targets: tuple[Node, ...]
    links: tuple[Link, ...]
    height: float
    rest: float

    @classmethod
    def of(cls, evidence: Evidence, names: Sequence[str], targets: Sequence[int]) -> Flow:
        """The flow of one teacher to some of the target classes.

        Args:
            evidence: what was kept of it.
            names: of all target classes.
            targets: places of those that are shown.
        """
        places_M = np.array(targets, dtype=np.intp)
        shown_R = telling(evidence, places_M, min(_SOURCES, _SOURCES_A_TARGET * len(targets)))
        mass_RM = evidence.map_SM[np.ix_(shown_R, places_M)].astype(np.float64)
        rest_M = evidence.target_mass_M[places_M].astype(np.float64) - mass_RM.sum(axis=0)
        mass_RM = np.vstack([mass_RM, rest_M.clip(min=0)])
        mass_RM /= max(float(mass_RM.sum()), 1e-12)
        source_names = [*(evidence.source_names[place] for place in shown_R.tolist()), OTHERS]
        target_names = [names[place] for place in targets]
        height = max(_height(mass_RM.sum(axis=1)), _height(mass_RM.sum(axis=0)))
        left = _column(source_names, mass_RM.sum(axis=1), height, coloured=False)
        right = _column(target_names, mass_RM.sum(axis=0), height, coloured=True)
        links = tuple(_links(left, right, mass_RM))
        return cls(left, right, links, height + 2 * _TOP, float(mass_RM[-1].sum()))


def _height(share_R: NDArray[np.float64]) -> float:
    return float(np.maximum(share_R * _MASS, _SLOT).sum() + _GAP * (len(share_R) - 1))


def _column(
    names: Sequence[str], share_R: NDArray[np.float64], height: float, *, coloured: bool
) -> tuple[Node, ...]:
    """Nodes one below the other, each with room for its name, spread over the height."""
    slots_R = np.maximum(share_R * _MASS, _SLOT)
    room = (height - float(slots_R.sum())) / max(len(names) - 1, 1)
    nodes, top = [], _TOP if len(names) > 1 else _TOP + room / 2
    for place, (name, share, slot) in enumerate(
        zip(names, share_R.tolist(), slots_R.tolist(), strict=True)
    ):
        thickness, middle = share * _MASS, top + slot / 2
        nodes.append(
            Node(
                name,
                class_label(name, 28 if not coloured else 22),
                share,
                round(middle - thickness / 2, 2),
                round(thickness, 2),
                round(middle, 2),
                place % _COLOURS if coloured else None,
            )
        )
        top += slot + room
    return tuple(nodes)


def _links(
    sources: Sequence[Node], targets: Sequence[Node], mass_RM: NDArray[np.float64]
) -> list[Link]:
    """One for every pair with mass that can be seen; those to one target lie in order."""
    links = []
    from_R = [node.y for node in sources]
    to_M = [node.y for node in targets]
    for row, source in enumerate(sources):
        for column, target in enumerate(targets):
            share = float(mass_RM[row, column])
            thickness = share * _MASS
            if thickness >= 0.1:
                path = _ribbon(from_R[row], to_M[column], thickness)
                is_rest = row == len(sources) - 1
                colour = target.colour or 0
                is_weak = share <= _CHANCE * source.share * target.share
                links.append(Link(source.name, target.name, share, path, colour, is_rest, is_weak))
            from_R[row] += thickness
            to_M[column] += thickness
    return links


def _ribbon(start: float, end: float, thickness: float) -> str:
    """A band between two nodes, level at both of its ends."""
    left, right = LEFT + BREADTH, RIGHT - BREADTH
    middle = (left + right) / 2
    below_start, below_end = start + thickness, end + thickness
    return (
        f"M{left} {start:.1f}C{middle:g} {start:.1f} {middle:g} {end:.1f} {right} {end:.1f}"
        f"V{below_end:.1f}C{middle:g} {below_end:.1f} {middle:g} {below_start:.1f} "
        f"{left} {below_start:.1f}Z"
    )
