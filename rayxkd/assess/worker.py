"""What assesses teachers in a process: one after another, on one device."""

from __future__ import annotations

from typing import Any

from rayxkd.assess.asker import Asker
from rayxkd.assess.assessor import Assessor
from rayxkd.assess.racing.part import Judge
from rayxkd.assess.task import Job, Task
from rayxkd.fleet.child import Seat


class Worker:
    """A runner of :func:`rayxkd.fleet.runner_pool`.

    ``task`` arrives from Ray's object store: its arrays are read where they lie.
    """

    def __init__(self, seat: Seat, task: Task) -> None:
        """Prepare what teachers share."""
        self._asker = Asker(task, seat.device)
        self._assessor = Assessor(self._asker, seat.memory_bound)
        self._judge = Judge(self._asker, seat.memory_bound)

    def prepare(self, job: Job) -> None:
        """See :meth:`Asker.prepare`."""
        self._asker.prepare(job)

    def run(self, job: Job) -> Any:
        """Assess one teacher, or judge it on a part of the probe set."""
        return self._assessor.assess(job) if job.images is None else self._judge.judge(job)
