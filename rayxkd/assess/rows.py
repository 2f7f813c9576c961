"""Rows of the leaderboard before anything is known of a teacher, and where it failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import rayxkd
from rayxkd.assess.task import Task
from rayxkd.leaderboard import Assessment
from rayxkd.status import Status
from rayxkd.teachers import RejectedCard, TeacherCard
from rayxkd.teachers.errors import teachers_fault


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
        error: as in :func:`rayxkd.teachers.errors.teachers_fault`.
        memory_bound: likewise.

    Raises:
        Exception: ``error`` itself, where it is no teacher's fault.
    """
    fault = teachers_fault(error, memory_bound)
    return replace(row, status=fault.status, reason=fault.reason)
