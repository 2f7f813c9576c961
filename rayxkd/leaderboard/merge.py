"""Leaderboards of one task made one, and the table made anew from its journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rayxkd.claim import shown
from rayxkd.errors import UserError
from rayxkd.leaderboard.assessment import Assessment
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.leaderboard.journal import PARTS, SCAN_FILE, TABLE_FILE, Journal
from rayxkd.leaderboard.values import assessments_of
from rayxkd.storage import Storage

# Parts are small: what takes time is waiting for the disk or the bucket.
_WRITERS = 16


@dataclass(frozen=True)
class Merged:
    """What came of a merge.

    Attributes:
        leaderboard: the new one.
        replaced: how many rows gave way to a newer one of the same teacher.
    """

    leaderboard: Leaderboard
    replaced: int


def merge(addresses: Sequence[str], out: str) -> Merged:
    """Unite leaderboards of one probe set and one configuration.

    Of one teacher the newest row is taken. Ranks and ties are worked out anew. A scan goes on with
    what is written as with its own.

    Args:
        addresses: the leaderboards; the settings are those of the first, or of ``out`` if it is
            among them.
        out: directory or URL: a new one, or one of the leaderboards.

    Raises:
        UserError: they are not of one task, two teachers have one name, or ``out`` is taken.
    """
    target = Storage.at(out)
    boards = [Leaderboard.open(address).teachers_for("merge") for address in addresses]
    if len({board.url for board in boards}) < max(2, len(boards)):
        raise UserError("merge needs two or more different leaderboards: give their directories")
    boards.sort(key=lambda board: board.url != target.url)
    _check_target(target, boards[0])
    rows = [(board, assessments_of(board)) for board in boards]
    _check_one_task(rows)
    united = _united(row for _, found in rows for row in found)
    journal = Journal(target)
    journal.begin(boards[0].about.get("settings", {}))
    try:
        _take_evidence(target, boards, united)
        table = _write(journal, united, boards[0].table.schema)
    except OSError as error:
        raise UserError(f"--out {target.url} cannot be written: {error}") from error
    return Merged(Leaderboard.of(target.url, table), _replaced(united, rows))


@dataclass(frozen=True)
class Rebuilt:
    """What came of making a table anew.

    Attributes:
        leaderboard: with the new table.
        unreadable: parts that are damaged: their teachers count as not assessed.
        outdated: rows of another probe set or configuration than the newest, which are left out.
    """

    leaderboard: Leaderboard
    unreadable: list[str]
    outdated: int


def rebuild(address: str) -> Rebuilt:
    """Make the table of a leaderboard anew from its journal.

    Raises:
        UserError: there is no journal, none of it can be read, or the table cannot be written.
    """
    storage = Storage.at(address)
    journal = Journal(storage)
    try:
        found = journal.contents()
        if found.schema is None:
            raise UserError(_no_parts(storage.url, len(found.unreadable)))
        newest = max(found.assessments, key=lambda row: row.finished_at)
        current = [row for row in found.assessments if _task_of(row) == _task_of(newest)]
        table = journal.write_table(current, found.schema)
    except OSError as error:
        raise UserError(f"{storage.url} cannot be made anew: {error}") from error
    outdated = len(found.assessments) - len(current)
    return Rebuilt(Leaderboard.of(storage.url, table), found.unreadable, outdated)


def _no_parts(url: str, unreadable: int) -> str:
    if unreadable:
        return f"none of the {unreadable} file(s) in {url}/{PARTS} can be read: assess again"
    return f"{url} has no {PARTS}/ to make a table of: give the directory that a scan wrote"


def _check_target(target: Storage, first: Leaderboard) -> None:
    try:
        if first.url != target.url and (target.exists(SCAN_FILE) or target.exists(TABLE_FILE)):
            raise UserError(
                f"--out {target.url} holds a leaderboard already: name it among those to merge, or "
                "give a new directory"
            )
    except OSError as error:
        raise UserError(f"--out {target.url} cannot be read: {error}") from error


def _check_one_task(rows: Sequence[tuple[Leaderboard, list[Assessment]]]) -> None:
    """Costs of two probe sets or two configurations cannot be ranked together."""
    first, first_task = None, ("", "")
    for board, found in rows:
        for task in sorted({_task_of(row) for row in found if row.is_ok}):
            if first is None:
                first, first_task = board, task
            elif task != first_task:
                raise UserError(_difference(first, board, first_task, task))


def _difference(
    one: Leaderboard, other: Leaderboard, one_task: tuple[str, str], other_task: tuple[str, str]
) -> str:
    """What differs, in the words of the options where they tell."""
    place = 0 if one_task[0] != other_task[0] else 1
    what = ("probe sets", "configurations")[place]
    settings: list[dict[str, Any]] = [board.about.get("settings", {}) for board in (one, other)]
    names = sorted({name for each in settings for name in each})
    told = [
        f"--{name} {' and '.join(shown(each.get(name)) for each in settings)}"
        for name in names
        if settings[0].get(name) != settings[1].get(name)
    ]
    why = "; ".join(told) or f"digests {one_task[place][:12]} and {other_task[place][:12]}"
    return (
        f"{one.url} and {other.url} are of different {what} ({why}): costs can only be compared "
        "where both are the same"
    )


def _united(rows: Iterable[Assessment]) -> list[Assessment]:
    """One row a teacher, the newest."""
    newest: dict[tuple[str, str], Assessment] = {}
    repositories: dict[str, str] = {}
    for row in rows:
        key = row.repository, row.teacher
        known = repositories.setdefault(row.teacher, row.repository)
        if known != row.repository:
            raise UserError(
                f"'{row.teacher}' is a teacher of {known} and another of {row.repository}: "
                "assess both repositories in one scan (--repository A B), which names them apart"
            )
        if key not in newest or row.finished_at > newest[key].finished_at:
            newest[key] = row
    return list(newest.values())


def _replaced(
    united: Iterable[Assessment], rows: Iterable[tuple[Leaderboard, list[Assessment]]]
) -> int:
    """How many rows are older than the one that was taken; copies of it do not count."""
    newest = {row.teacher: row.finished_at for row in united}
    return sum(row.finished_at < newest[row.teacher] for _, found in rows for row in found)


def _write(journal: Journal, rows: Sequence[Assessment], schema: pa.Schema) -> pa.Table:
    with ThreadPoolExecutor(_WRITERS) as writers:
        for _ in writers.map(lambda row: journal.write_part(row, schema), rows):
            pass
    return journal.write_table(rows, schema)


def _take_evidence(
    target: Storage, boards: Iterable[Leaderboard], rows: Iterable[Assessment]
) -> None:
    """What explains the rows goes with them, from the leaderboard that each was taken from."""
    newest = {(row.repository, row.teacher): row.finished_at for row in rows}
    for board in boards:
        if board.storage is None or board.url == target.url:
            continue
        names = ("repository", "teacher", "finished_at")
        own = zip(*(board.table[name].to_pylist() for name in names), strict=True)
        taken = [(place, name) for place, name, when in own if newest.get((place, name)) == when]
        EvidenceStore(target).take(EvidenceStore(board.storage), taken)


def _task_of(row: Assessment) -> tuple[str, str]:
    return row.probe_digest, row.config_digest
