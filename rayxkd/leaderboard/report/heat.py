"""A teacher's transport map as a table of shares: which of its classes carry which of ours.

Legend: S teacher classes that are kept, M target classes, R rows that are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayxkd.leaderboard.evidence import Evidence
from rayxkd.leaderboard.report.text import class_label

_ROWS = 20


@dataclass(frozen=True)
class HeatCell:
    """One pair of classes.

    Attributes:
        share: of the mass that the target class receives, what comes from this class.
        strength: the same on the scale of colours, from 0 to 1.
        lift: how many times as much as if mass were moved at random.
    """

    share: float
    strength: float
    lift: float


@dataclass(frozen=True)
class HeatRow:
    """One teacher class: its name, that name in short, and a cell for each target class."""

    name: str
    label: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True)
class HeatMap:
    """A part of a transport map.

    Attributes:
        targets: names of the target classes that are shown.
        labels: the same in short.
        rows: the teacher classes that carry most above chance, in the order of what they carry.
        rest_M: share of each target class that comes from all others.
    """

    targets: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    rest_M: tuple[float, ...]

    @classmethod
    def of(cls, evidence: Evidence, names: Sequence[str], targets: Sequence[int]) -> HeatMap:
        """The map of one teacher, for some of the target classes.

        Args:
            evidence: what was kept of it.
            names: of all target classes.
            targets: places of those that are shown.
        """
        places_M = np.array(targets, dtype=np.intp)
        shown_R = telling(evidence, places_M, _ROWS)
        share_RM = shares(evidence)[np.ix_(shown_R, places_M)]
        lift_RM = lifts(evidence)[np.ix_(shown_R, places_M)]
        strength_RM = np.sqrt(share_RM / max(float(share_RM.max(initial=0.0)), 1e-12))
        rows = tuple(
            HeatRow(
                evidence.source_names[place],
                class_label(evidence.source_names[place]),
                tuple(
                    HeatCell(*map(float, cell))
                    for cell in zip(share_RM[row], strength_RM[row], lift_RM[row], strict=True)
                ),
            )
            for row, place in enumerate(shown_R.tolist())
        )
        told = tuple(names[place] for place in targets)
        rest_M = tuple((1 - share_RM.sum(axis=0)).clip(min=0).tolist())
        return cls(told, tuple(class_label(name, 16) for name in told), rows, rest_M)


def shares(evidence: Evidence) -> NDArray[np.float64]:
    """Of the mass that each target class receives, what comes from each kept class, [S, M]."""
    total_M = evidence.target_mass_M.astype(np.float64)
    share_SM: NDArray[np.float64] = evidence.map_SM / np.where(total_M > 0, total_M, 1)
    return share_SM


def lifts(evidence: Evidence) -> NDArray[np.float64]:
    """How many times as much mass moves as if it were moved at random, [S, M]."""
    map_SM = evidence.map_SM.astype(np.float64)
    chance_SM = map_SM.sum(axis=1, keepdims=True) * evidence.target_mass_M
    lift_SM: NDArray[np.float64] = map_SM / np.where(chance_SM > 0, chance_SM, np.inf)
    return lift_SM


def telling(evidence: Evidence, places_M: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Kept classes that carry most above chance, some for each target class in turn.

    They are sorted by the target class of which they carry the largest share, and by that share.
    """
    map_SM = evidence.map_SM.astype(np.float64)
    chance_SM = map_SM.sum(axis=1, keepdims=True) * evidence.target_mass_M
    above_SM = (map_SM - chance_SM)[:, places_M]
    order_JM = np.argsort(-above_SM, axis=0, kind="stable")
    chosen = list(dict.fromkeys(order_JM.flatten().tolist()))[:most]
    share_SM = shares(evidence)[:, places_M]
    main_S = above_SM.argmax(axis=1) if places_M.size else np.zeros(len(map_SM), dtype=np.intp)
    chosen.sort(key=lambda place: (int(main_S[place]), -float(share_SM[place, main_S[place]])))
    return np.array(chosen, dtype=np.intp)
