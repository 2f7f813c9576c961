"""Which teachers of a repository are worth loading for a task, as their sketches tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayxkd.data import ProbeSet
from rayxkd.errors import UserError
from rayxkd.sketches.costs import sketched_costs_T
from rayxkd.sketches.space import open_space
from rayxkd.sketches.store import IndexSpace, Key, Known, SketchStore
from rayxkd.sketches.target import Target, make_target
from rayxkd.storage import Storage
from rayxkd.teachers import Card, RejectedCard, Repository, TeacherCard

Listed = list[tuple[Repository, list[Card]]]


@dataclass(frozen=True)
class Shortlist:
    """What an index chose.

    Attributes:
        listed: the repositories with the chosen cards alone.
        size: how many were chosen.
        ranked: of how many with a sketch.
        without: teachers without a sketch of their present weights, which were left out.
        index: where the sketches lie.
        space_digest: of the space and the reference images that they were made with.
        seconds: what the ranking of all sketches took.
    """

    listed: Listed
    size: int
    ranked: int
    without: int
    index: str
    space_digest: str
    seconds: float

    def line(self) -> str:
        """For the user."""
        line = (
            f"shortlist: {self.size} of {self.ranked} sketched teachers, by {self.index} "
            f"(ranked in {self.seconds:.2f} s)"
        )
        if self.without:
            line += (
                f"; {self.without} without a sketch of their present weights are left out: run "
                "rayxkd index again to have them ranked"
            )
        return line

    def about(self) -> dict[str, Any]:
        """For the leaderboard's metadata."""
        return {
            "index": self.index,
            "size": self.size,
            "of": self.ranked,
            "without_sketch": self.without,
            "space_digest": self.space_digest,
        }


def make_shortlist(
    address: str, size: int, listed: Listed, probe: ProbeSet, *, trust_code: bool = False
) -> Shortlist:
    """Choose the ``size`` teachers whose sketches cost least for the probe set; none is loaded.

    Args:
        address: of the index.
        size: how many.
        listed: all teachers.
        probe: the task.
        trust_code: load a space's network of a format that can run code.

    Raises:
        UserError: there is no index, its space cannot be opened or is another now, or no teacher
            has a sketch.
    """
    store = SketchStore(Storage.at(address))
    space = store.space()
    known = store.read(space)
    versions = dict(zip(known.keys, known.table["weights_version"].to_pylist(), strict=True))
    place = {key: row for row, key in enumerate(known.keys)}
    teachers = [
        (_key(card), card.mark)
        for _, cards in listed
        for card in cards
        if isinstance(card, TeacherCard)
    ]
    current = [key for key, version in teachers if versions.get(key) == version]
    if not current:
        raise UserError(
            f"--index {store.url} has no sketch of the present weights of any of the "
            f"{len(teachers)} teachers: run rayxkd index on the same --repository"
        )
    target = target_of(probe, space, trust_code=trust_code)
    start = time.perf_counter()
    best = _best(known, [place[key] for key in current], target, size)
    seconds = time.perf_counter() - start
    chosen = {current[row] for row in best}
    kept: Listed = [
        (repository, [card for card in cards if _key(card) in chosen])
        for repository, cards in listed
    ]
    return Shortlist(
        kept,
        len(chosen),
        len(current),
        sum(len(cards) for _, cards in listed) - len(current),
        store.url,
        space.digest,
        seconds,
    )


def target_of(probe: ProbeSet, space: IndexSpace, *, trust_code: bool = False) -> Target:
    """A probe set in an index's space.

    Raises:
        UserError: the space cannot be opened, or its network is another than it was.
    """
    network = open_space(space.address, trust_code=trust_code)
    if network.digest != space.network_digest:
        raise UserError(
            f"--space {space.address} is another network than when the index was made: put the old "
            "one back, or make the index anew with --fresh"
        )
    places_ND = space.projection.places_ND(network.features_NF(probe))
    return make_target(places_ND, probe.labels_N, probe.num_classes)


def _best(known: Known, rows: Sequence[int], target: Target, size: int) -> list[int]:
    """Places in ``rows`` of the cheapest, the best first; of equals the earlier."""
    costs_T = sketched_costs_T(known.sketches(rows), target)
    order: list[int] = np.argsort(costs_T, kind="stable")[:size].tolist()
    return order


def _key(card: TeacherCard | RejectedCard) -> Key:
    return card.repository, card.teacher
