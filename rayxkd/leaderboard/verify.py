"""Is a leaderboard what it says it is? One line a question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from rayxkd.errors import UserError, some_of
from rayxkd.leaderboard.assessment import Assessment
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.journal import PARTS, TABLE_FILE, Journal, table_from
from rayxkd.leaderboard.ranking import tied_with_leader
from rayxkd.leaderboard.schema import (
    LATER_COLUMNS,
    about_of,
    fixed_columns,
    with_later_columns,
)
from rayxkd.status import Status
from rayxkd.storage import Storage

Row = dict[str, Any]

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Attributes:
        name: what was asked.
        detail: what was found, in a sentence.
        passed: whether it is as it should be.
    """

    name: str
    detail: str
    passed: bool


def verify(
    address: str, repositories: Sequence[str] = (), *, digests: bool = False
) -> Iterator[Finding]:
    """Ask everything that can be asked of a leaderboard.

    Where the table cannot be read, or lacks columns, nothing further is asked.

    Args:
        address: where it lies.
        repositories: those whose teachers should have a row each.
        digests: compare the weights of these teachers too, which reads them.

    Raises:
        UserError: an address cannot be opened, or holds no teachers but a search.
    """
    if digests and not repositories:
        raise UserError("--digests needs the teachers: name their --repository")
    storage = Storage.at(address)
    table, finding = _read(storage)
    yield finding
    if table is None:
        return
    columns = _columns(table)
    yield columns
    if not columns.passed:
        return
    rows = with_later_columns(table, address).to_pylist()
    for name, found in _QUESTIONS.items():
        yield _finding(name, *found(rows))
    metrics = tuple(about_of(table.schema, TABLE_FILE)["metrics"])
    yield _finding("journal", *_journal(storage, rows, metrics))
    if repositories:
        from rayxkd.leaderboard.verify_teachers import verify_teachers  # it needs torch

        yield from verify_teachers(rows, address, repositories, digests=digests)


def _finding(name: str, good: str, faults: Iterable[str]) -> Finding:
    """The first faults, or what is said where there is none."""
    told = list(faults)
    return Finding(name, some_faults(told) if told else good, not told)


def some_faults(told: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
    return "; ".join(told[:3]) + more


def _read(storage: Storage) -> tuple[pa.Table | None, Finding]:
    try:
        table = table_from(storage.read(TABLE_FILE))
        about = about_of(table.schema, storage.url_of(TABLE_FILE))
    except (OSError, pa.ArrowException, UserError) as error:
        return None, Finding("readable", f"{TABLE_FILE} cannot be read: {error}", passed=False)
    Leaderboard(storage.url, table, about).teachers_for("verify")
    detail = f"schema version {about['schema_version']}, {table.num_rows} row(s)"
    return table, Finding("readable", detail, passed=True)


def _columns(table: pa.Table) -> Finding:
    present = dict(zip(table.schema.names, table.schema.types, strict=True))
    expected = {
        name: kind
        for name, kind in fixed_columns().items()
        if name in present or name not in LATER_COLUMNS
    }
    metrics = about_of(table.schema, TABLE_FILE).get("metrics")
    names = metrics if isinstance(metrics, list) else []
    expected |= dict.fromkeys(names, pa.float64())
    faults = [
        f"'{name}' is missing"
        if name not in present
        else f"'{name}' is {present[name]}, not {kind}"
        for name, kind in expected.items()
        if present.get(name) != kind
    ]
    if not isinstance(metrics, list):
        faults.append("the metadata does not list the metrics")
    return _finding("columns", f"all {len(expected)}, with their types", faults)


Answer = tuple[str, list[str]]


def _order(rows: list[Row]) -> Answer:
    good = _good(rows)
    faults = [
        f"'{row['teacher']}' is ok but has no cost" for row in good if not _is_number(_cost(row))
    ]
    faults += [
        f"'{after['teacher']}' costs less than '{before['teacher']}', which stands above it"
        for before, after in pairwise(row for row in good if _is_number(_cost(row)))
        if _cost(after) < _cost(before)
    ]
    return "sorted by transport cost", faults


def _ranks(rows: list[Row]) -> Answer:
    good = _good(rows)
    faults = [
        f"'{row['teacher']}' has rank {row['rank']}, not {place}"
        for place, row in enumerate(good, start=1)
        if row["rank"] != place
    ]
    return f"1 to {len(good)}, without gaps", faults


def _failures(rows: list[Row]) -> Answer:
    failed = [row for row in rows if row["status"] != Status.OK]
    faults = [f"'{row['teacher']}' {fault}" for row in failed for fault in _failure_faults(row)]
    faults += [
        f"'{row['teacher']}' is {row['status']} and stands above one that is ok"
        for row in rows[: len(rows) - len(failed)]
        if row["status"] != Status.OK
    ]
    good = f"{len(failed)}, last, without a rank and with a reason" if failed else "none"
    return good, faults


def _failure_faults(row: Row) -> Iterator[str]:
    if row["status"] not in list(Status):
        yield f"has the unknown status '{row['status']}'"
    if row["rank"] is not None:
        yield f"is {row['status']} but has rank {row['rank']}"
    if not (row["reason"] or "").strip():
        yield f"is {row['status']} without a reason"


def _intervals(rows: list[Row]) -> Answer:
    faults = []
    for row in rows:
        low, cost, high = (row[f"transport_cost{end}"] for end in ("_low", "", "_high"))
        known = [value for value in (low, cost, high) if value is not None]
        whole = (low is None) == (high is None) and (cost is not None or not known)
        if not whole or not all(map(_is_number, known)) or known != sorted(known):
            faults.append(f"'{row['teacher']}' costs {cost}, which is not in [{low}, {high}]")
    return "every cost lies in its interval", faults


def _ties(rows: list[Row]) -> Answer:
    good = _good(rows)
    tied = tied_with_leader([(_end(row, "low"), _end(row, "high")) for row in good])
    wrong = [row for row, flag in zip(good, tied, strict=True) if row["tied"] is not flag]
    wrong += [row for row in rows if row["status"] != Status.OK and row["tied"] is not None]
    count = f"{sum(tied)} tied with the leader" if any(tied) else "none tied with the leader"
    return count, [f"'{row['teacher']}' has tied = {row['tied']}" for row in wrong]


def _digests(rows: list[Row]) -> Answer:
    faults = []
    for column in ("teacher_digest", "probe_digest", "config_digest"):
        faults += [
            f"'{row['teacher']}' has the {column} '{row[column]}', which is no SHA-256"
            for row in rows
            if not _DIGEST.fullmatch(row[column] or "")
            # A teacher that could not be read has none.
            and not (column == "teacher_digest" and not row[column] and row["status"] != Status.OK)
        ]
    for column in ("probe_digest", "config_digest"):
        counts = Counter(row[column] for row in rows)
        if len(counts) > 1:
            shares = ", ".join(f"{str(one)[:12]} ({count})" for one, count in counts.most_common(3))
            faults.append(f"{len(counts)} values of {column}, not to be compared: {shares}")
    return "one probe set, one configuration", faults


def _names(rows: list[Row]) -> Answer:
    counts = Counter(row["teacher"] for row in rows)
    faults = [f"'{name}' has {count} rows" for name, count in counts.items() if count > 1]
    return "every teacher has one row", faults


_QUESTIONS: dict[str, Callable[[list[Row]], Answer]] = {
    "order": _order,
    "ranks": _ranks,
    "failures": _failures,
    "intervals": _intervals,
    "ties": _ties,
    "digests": _digests,
    "names": _names,
}


def _journal(storage: Storage, rows: list[Row], metrics: tuple[str, ...]) -> Answer:
    """Whether the table is that of the parts."""
    try:
        contents = Journal(storage).contents()
    except OSError as error:
        return "", [f"{PARTS}/ cannot be read: {error}"]
    parts = {(part.repository, part.teacher): part for part in contents.assessments}
    known = {(row["repository"], row["teacher"]): row for row in rows}
    missing = [name for _, name in known.keys() - parts.keys()]
    new = [name for _, name in parts.keys() - known.keys()]
    faults = [f"{name} cannot be read" for name in contents.unreadable]
    if missing:
        faults.append(f"{len(missing)} row(s) have no part: {some_of(sorted(missing))}")
    if new:
        faults.append(f"{len(new)} part(s) have no row: {some_of(sorted(new))}")
    for key in [key for key in known if key in parts]:
        differing = _differing(known[key], parts[key], metrics)
        if differing:
            faults.append(f"row and part of '{key[1]}' differ in {', '.join(differing)}")
    return f"{len(parts)} part(s), the same as the rows", faults


def _differing(row: Row, part: Assessment, metrics: tuple[str, ...]) -> list[str]:
    expected = dict.fromkeys(metrics) | part.as_row()
    return [name for name, value in expected.items() if not _same(row.get(name), value)]


def _same(one: Any, other: Any) -> bool:
    both = isinstance(one, float) and isinstance(other, float)
    return bool(one == other or (both and math.isnan(one) and math.isnan(other)))


def _good(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == Status.OK]


def _cost(row: Row) -> Any:
    return row["transport_cost"]


def _end(row: Row, end: str) -> float:
    """An end of the interval, or the cost where there is none."""
    value = row[f"transport_cost_{end}"]
    value = _cost(row) if value is None else value
    return math.nan if value is None else float(value)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
