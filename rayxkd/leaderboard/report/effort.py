"""What a scan cost: time, images, machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.report.counts import counted
from rayxkd.leaderboard.report.text import duration_of, size_of

_PHASES = (
    ("load", "load_seconds", "reading, checking and building the models"),
    ("forward", "forward_seconds", "preprocessing and forward passes"),
    ("transport", "transport_seconds", "ground costs, transport and intervals"),
    ("metrics", "metric_seconds", "all other scores"),
)
_DEVICES = 4


@dataclass(frozen=True)
class Phase:
    """Time of one kind of work, over all teachers.

    Attributes:
        name: of the work.
        meaning: what it is.
        seconds: over all teachers.
        share: of all phases.
        start: share of what is drawn before it.
    """

    name: str
    meaning: str
    seconds: float
    share: float
    start: float

    @property
    def time(self) -> str:
        """As people read it."""
        return duration_of(self.seconds)


@dataclass(frozen=True)
class Effort:
    """What a scan cost.

    Attributes:
        phases: in their order.
        facts: what else is known of it, by name.
    """

    phases: tuple[Phase, ...]
    facts: Mapping[str, str]


def effort_of(board: Leaderboard) -> Effort:
    """The cost of a scan, added up over its rows."""
    table = board.table
    sums = [(name, _sum(table, column), meaning) for name, column, meaning in _PHASES]
    total = sum(seconds for _, seconds, _ in sums)
    phases, start = [], 0.0
    for name, seconds, meaning in sums:
        share = seconds / total if total else 0.0
        if seconds:
            phases.append(Phase(name, meaning, seconds, share, start))
        start += share
    return Effort(tuple(phases), dict(_facts(table, total)))


def _facts(table: pa.Table, seconds: float) -> Iterator[tuple[str, str]]:
    yield "teachers", f"{table.num_rows:,}"
    if seconds:
        yield "time of all workers", duration_of(seconds)
    times = pc.min_max(table["finished_at"]).as_py()
    if times["min"] is not None:
        between = (times["max"] - times["min"]).total_seconds()
        yield "from the first result to the last", duration_of(between)
    yield "images asked about", f"{int(_sum(table, 'images_seen')):,}"
    if read := _sum(table, "weights_bytes"):
        yield "size of all weights", size_of(read)
    attempts = int(_sum(table, "attempts"))
    if attempts:
        again = attempts - (table.num_rows - table["attempts"].null_count)
        yield "attempts", f"{attempts:,}" + (f", {again:,} of them again" if again > 0 else "")
    devices = counted(table["device"])
    if devices:
        told = ", ".join(f"{name} ({count:,})" for name, count in devices[:_DEVICES])
        yield "devices", told + (" and others" if len(devices) > _DEVICES else "")


def _sum(table: pa.Table, name: str) -> float:
    column = table[name]
    if pa.types.is_floating(column.type):
        column = column.filter(pc.is_finite(column))
    return float(pc.sum(column).as_py() or 0)
