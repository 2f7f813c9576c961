"""From assessments to the ranked table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from rayxkd.leaderboard.assessment import Assessment


def ranked_table(assessments: Iterable[Assessment], schema: pa.Schema) -> pa.Table:
    """Rank assessments: ok ones by transport cost, then the others by name, without a rank.

    ``tied`` marks every teacher whose interval overlaps the leader's, and the leader itself where
    there is such a teacher.
    """
    every = sorted(assessments, key=lambda row: row.teacher)
    good = sorted((row for row in every if row.is_ok), key=_cost)
    others = [row for row in every if not row.is_ok]
    tied = tied_with_leader([(_low(row), _high(row)) for row in good])
    rows: list[dict[str, Any]] = [
        {**row.as_row(), "rank": place, "tied": overlaps}
        for place, (row, overlaps) in enumerate(zip(good, tied, strict=True), start=1)
    ]
    rows += [{**row.as_row(), "rank": None, "tied": None} for row in others]
    return pa.Table.from_pylist(rows, schema=schema)


def tied_with_leader(intervals: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each interval, the leader's first, overlaps the leader's; its own if others do."""
    tied = [low <= intervals[0][1] for low, _ in intervals]
    # The leader alone overlaps itself only.
    return tied if sum(tied) != 1 else [False] * len(intervals)


def _cost(row: Assessment) -> tuple[float, str]:
    if row.transport_cost is None:
        raise ValueError(f"{row.teacher} is ok but has no transport cost")
    return row.transport_cost, row.teacher


def _high(row: Assessment) -> float:
    return _cost(row)[0] if row.transport_cost_high is None else row.transport_cost_high


def _low(row: Assessment) -> float:
    return _cost(row)[0] if row.transport_cost_low is None else row.transport_cost_low
