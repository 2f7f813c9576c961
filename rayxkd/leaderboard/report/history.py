"""What a scan cost, what failed in it, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.report.text import duration_of, size_of
from rayxkd.secrets import recordable, without_secrets

_PHASES = (
    ("load", "load_seconds", "reading, checking and building the models"),
    ("forward", "forward_seconds", "preprocessing and forward passes"),
    ("transport", "transport_seconds", "ground costs, transport and intervals"),
    ("metrics", "metric_seconds", "all other scores"),
)
_REASONS, _NAMES = 20, 12
_FEW = 4  # distinct values of a digest that are named


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
    devices = _counted(table["device"])
    if devices:
        told = ", ".join(f"{name} ({count:,})" for name, count in devices[:_FEW])
        yield "devices", told + (" and others" if len(devices) > _FEW else "")


def _sum(table: pa.Table, name: str) -> float:
    column = table[name]
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    return float(pc.sum(column).as_py() or 0)


def _counted(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Every value and how often it is there, the most frequent first."""
    counts = pc.value_counts(column.drop_null()).to_pylist()
    found = [(entry["values"], entry["counts"]) for entry in counts]
    return sorted(found, key=lambda entry: (-entry[1], entry[0]))


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
        groups = keys.append_column("count", pa.array(np.ones(others.num_rows, dtype=np.int64)))
        groups = groups.group_by(["status", "reason"], use_threads=False).aggregate(
            [("count", "sum")]
        )
        found = sorted(
            groups.to_pylist(), key=lambda one: (-one["count_sum"], one["status"], one["reason"])
        )
        shown = tuple(_failure(others, one) for one in found[:_REASONS])
        left_out = sum(one["count_sum"] for one in found[_REASONS:])
        statuses = tuple(_counted(others["status"]))
        return cls(statuses, shown, left_out, max(0, len(found) - _REASONS))


def _failure(others: pa.Table, group: dict[str, Any]) -> Failure:
    is_same = pc.and_(
        pc.equal(others["status"], group["status"]), pc.equal(others["reason"], group["reason"])
    )
    names = others["teacher"].filter(is_same).slice(0, _NAMES).to_pylist()
    reason = without_secrets(group["reason"]) or "no reason was given"
    return Failure(group["status"], reason, group["count_sum"], tuple(names))


@dataclass(frozen=True)
class Origin:
    """How a leaderboard was made.

    Attributes:
        command: that makes it again.
        digests: what is the same in all rows, or what there is, by name.
        about: all that is noted in its file.
    """

    command: str
    digests: Mapping[str, tuple[str, ...]]
    about: Mapping[str, Any]

    @classmethod
    def of(cls, board: Leaderboard) -> Origin:
        """Where the rows of a leaderboard come from; addresses lose their secrets."""
        about = recordable(dict(board.about))
        names = ("probe_digest", "config_digest", "rayxkd_version")
        digests = {
            name.replace("_", " ").replace("digest", "digest (SHA-256)"): tuple(
                value for value, _ in _counted(board.table[name])[:_FEW]
            )
            for name in names
        }
        return cls(_command(board, about.get("settings", {})), digests, about)


def _command(board: Leaderboard, settings: Mapping[str, Any]) -> str:
    """The command of the scan; what has no value is left out."""
    repositories = [value for value, _ in _counted(board.table["repository"])]
    options = {"repository": list(map(without_secrets, repositories)), **settings}
    options["out"] = board.url
    lines = ["python jobs/assess.py"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            lines += [option] if value else []
        elif isinstance(value, list | tuple):
            lines += [shlex.join([option, *map(str, value)])] if value else []
        elif value is not None:
            lines.append(shlex.join([option, str(value)]))
    return " \\\n  ".join(lines)
