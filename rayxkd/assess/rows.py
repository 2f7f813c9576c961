"""Rows of the leaderboard before anything is known of a teacher, and where it failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import rayxkd
from rayxkd.assess.task import Task
from rayxkd.leaderboard import Assessment
from rayxkd.status import Status
from rayxkd.teachers import RejectedCard, TeacherCard, TeacherError
from rayxkd.teachers.errors import memory_refused

# What ends one teacher and nothing else. Of runtime errors only those of memory do.
FAILURES = (TeacherError, MemoryError, RuntimeError)


def empty_row(task: Task, card: TeacherCard | RejectedCard) -> Assessment:
    """A row that says only whose it is; its status is to be set."""
    return Assessment(
        teacher=card.teacher,
        repository=card.repository,
        status=Status.INVALID,
        teacher_digest="",
        probe_digest=task.probe_digest,
        config_digest=task.config_digest,
        rayxkd_version=rayxkd.__version__,
        finished_at=datetime.now(UTC),
        weights_bytes=card.weights_bytes,
    )


def failed_row(row: Assessment, error: Exception, memory_bound: str = "") -> Assessment:
    """The row of a teacher that failed.

    Args:
        row: what was known of it.
        error: one of ``FAILURES``.
        memory_bound: what the process may take, in words; empty where there is no bound.

    Raises:
        Exception: ``error`` itself, where it is no teacher's fault.
    """
    if isinstance(error, TeacherError):
        row = replace(row, status=error.status, reason=error.reason)
    elif refused := memory_refused(error):
        row = replace(row, status=Status.OUT_OF_MEMORY, reason=refused)
    else:
        raise error
    if row.status is Status.OUT_OF_MEMORY and memory_bound:
        bound = f"a worker may take {memory_bound} (--memory-per-worker)"
        row = replace(row, reason=f"{row.reason}; {bound}")
    return row
