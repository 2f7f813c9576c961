"""Explains ranks: finds the teacher, its rivals, and what was kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches

from rayxkd.errors import UserError, some_of
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.certainty import certainty_of
from rayxkd.leaderboard.evidence import Evidence, EvidenceStore, ProbePictures
from rayxkd.leaderboard.explanation import (
    Explanation,
    OtherScore,
    Row,
    target_classes,
    worst_images,
)
from rayxkd.leaderboard.schema import Meaning
from rayxkd.leaderboard.values import is_text
from rayxkd.status import Status

BEST = "best"
# So many teachers of neighbouring ranks are compared with, image by image.
_RIVALS = 300
_MISSING = (
    "nothing is kept that explains this rank: the scan ran with --no-evidence or an older version; "
    "assess again with --fresh"
)


class Explainer:
    """Explains teachers of one leaderboard; reads what they share once."""

    def __init__(self, board: Leaderboard) -> None:
        self._board = board.teachers_for("explain")
        is_ok = is_text(board.table["status"], Status.OK)
        self._ranked: list[Row] = board.table.filter(is_ok).to_pylist()
        self._place = {row["teacher"]: place for place, row in enumerate(self._ranked)}
        self._store = None if board.storage is None else EvidenceStore(board.storage)
        self._probe = None if self._store is None else self._store.read_pictures()

    def explain(self, teacher: str) -> Explanation:
        """Explain the rank of one teacher.

        Args:
            teacher: its name, or the last part of it where no other has the same; ``best`` for the
                leader.

        Raises:
            UserError: there is no such teacher.
        """
        row = self._row_of(teacher)
        tied = sum(bool(one["tied"]) for one in self._ranked)
        unit, scores = self._board.cost_unit, tuple(self._scores(row))
        known = Explanation(row, unit, len(self._ranked), tied, scores)
        if row["status"] != Status.OK:
            return known
        found = {} if self._store is None else self._store.read([row, *self._rivals(row)])
        evidence, probe = found.get(row["teacher"]), self._probe
        if evidence is None or probe is None or not _fits(evidence, probe):
            return replace(known, missing=_MISSING)
        rivals = {name: one for name, one in found.items() if _fits(one, probe)}
        return self._explained(known, evidence, probe, rivals)

    def _explained(
        self,
        known: Explanation,
        evidence: Evidence,
        probe: ProbePictures,
        rivals: dict[str, Evidence],
    ) -> Explanation:
        costs = {name: one.image_cost_N for name, one in rivals.items()}
        better = sum(
            row["rank"] < known.row["rank"] for row in self._ranked if row["teacher"] not in costs
        )
        return replace(
            known,
            temperature=evidence.temperature,
            classes=tuple(target_classes(evidence, probe)),
            worst=tuple(worst_images(evidence, probe)),
            certainty=certainty_of(evidence.teacher, costs, better),
        )

    def _row_of(self, teacher: str) -> Row:
        if teacher == BEST and self._ranked:
            return self._ranked[0]
        names: list[str] = self._board.table["teacher"].to_pylist()
        whole = [place for place, name in enumerate(names) if name == teacher]
        found = whole or [n for n, name in enumerate(names) if name.endswith(f"/{teacher}")]
        if not whole and len(found) > 1:
            ways = some_of([names[place] for place in found])
            raise UserError(f"'{teacher}' may be any of {ways}: give the whole name")
        if not found:
            near = get_close_matches(teacher, names, n=3, cutoff=0.5) or names[:3]
            hint = f"give one of show, such as {some_of(near)}" if near else "nothing has a row"
            raise UserError(f"there is no teacher '{teacher}': {hint}")
        row: Row = self._board.table.slice(found[0], 1).to_pylist()[0]
        return row

    def _rivals(self, row: Row) -> Iterator[Row]:
        """Teachers that may stand on the other side of it: those whose intervals overlap its own.

        For others the order is taken as sure: two costs of the same images differ more surely than
        their intervals, each by itself, say.
        """
        low, high = row["transport_cost_low"], row["transport_cost_high"]
        place = self._place[row["teacher"]]
        for other in self._ranked[max(place - _RIVALS // 2, 0) : place + _RIVALS // 2 + 1]:
            ends = other["transport_cost_low"], other["transport_cost_high"]
            if other["teacher"] == row["teacher"] or None in (low, high, *ends):
                continue
            if ends[0] <= high and ends[1] >= low:
                yield other

    def _scores(self, row: Row) -> Iterator[OtherScore]:
        for name in self._board.metrics:
            value = row[name]
            values = [one[name] for one in self._ranked if one[name] is not None]
            if value is not None and values:
                better = Meaning.of(self._board.table.schema.field(name)).better
                higher = better == "higher"
                before = sum(other > value if higher else other < value for other in values)
                yield OtherScore(name, value, 1 + before, len(values))


def explain(board: Leaderboard, teacher: str) -> Explanation:
    """Explain the rank of one teacher; see :meth:`Explainer.explain`."""
    return Explainer(board).explain(teacher)


def _fits(evidence: Evidence, probe: ProbePictures) -> bool:
    return evidence.probe_digest == probe.probe_digest and len(evidence.image_cost_N) == len(
        probe.labels_N
    )
