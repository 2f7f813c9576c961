"""Teachers without a rank, by how and why they ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayxkd.leaderboard.report.counts import counted
from rayxkd.leaderboard.values import is_text
from rayxkd.secrets import without_secrets

_REASONS, _NAMES = 20, 12


@dataclass(frozen=True)
class Failure:
    """Teachers that ended in the same way.

    Attributes:
        status: how.
        reason: why.
        count: how many.
        names: the first of them.
    """

    status: str
    reason: str
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Failures:
    """Teachers without a rank.

    Attributes:
        statuses: how many ended how, the most frequent first.
        groups: the same by reason; the first where there are many.
        left_out: how many teachers are in no group.
        reasons_left_out: how many reasons these have.
    """

    statuses: tuple[tuple[str, int], ...]
    groups: tuple[Failure, ...]
    left_out: int
    reasons_left_out: int

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.statuses)

    @classmethod
    def of(cls, others: pa.Table) -> Failures:
        """Those of a table whose rows have no rank."""
        # Reasons of a hundred thousand rows are grouped by Arrow; names only of those shown.
        keys = pa.table({name: others[name].combine_chunks() for name in ("status", "reason")})
        groups = keys.group_by(["status", "reason"], use_threads=False)
        found = sorted(
            groups.aggregate([([], "count_all")]).to_pylist(),
            key=lambda one: (-one["count_all"], one["status"], one["reason"]),
        )
        shown = tuple(_failure(others, one) for one in found[:_REASONS])
        left_out = sum(one["count_all"] for one in found[_REASONS:])
        statuses = tuple(counted(others["status"]))
        return cls(statuses, shown, left_out, max(0, len(found) - _REASONS))


def _failure(others: pa.Table, group: dict[str, Any]) -> Failure:
    is_same = pc.and_(
        is_text(others["status"], group["status"]), is_text(others["reason"], group["reason"])
    )
    names = others["teacher"].filter(is_same).slice(0, _NAMES).to_pylist()
    reason = without_secrets(group["reason"]) or "no reason was given"
    return Failure(group["status"], reason, group["count_all"], tuple(names))
