"""The field of a race: from teachers to jobs of each round, and from what they give to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rayxkd.assess.racing.ledger import Ledger
from rayxkd.assess.racing.part import Judgement
from rayxkd.assess.racing.plan import Plan
from rayxkd.assess.racing.race import Elimination, Heat, Race
from rayxkd.assess.task import Job
from rayxkd.leaderboard import Assessment
from rayxkd.status import Status


class Field:
    """Runs a race; somebody else has the jobs done.

    Attributes:
        race: its state.
    """

    def __init__(
        self, plan: Plan, jobs: Sequence[Job], known: Mapping[str, Assessment], ledger: Ledger
    ) -> None:
        """Line up.

        Args:
            plan: for so many teachers.
            jobs: all teachers, those of an earlier run of the race among them.
            known: rows of an earlier run that hold, by teacher.
            ledger: what was learnt then.
        """
        self.race = Race(plan, [job.card.teacher for job in jobs])
        self._jobs = {job.card.teacher: job for job in jobs}
        self._known, self._ledger = known, ledger
        self._passed: dict[str, list[Judgement]] = {teacher: [] for teacher in self._jobs}
        self._now: dict[str, Judgement] = {}
        self._failed: set[str] = set()

    def begin_round(self) -> tuple[list[Job], list[Assessment]]:
        """What is to be done in this round, and rows of an earlier run that answer it."""
        self._now, self._failed, rows = {}, set(), []
        images = None if self.race.is_last_round else self.race.images
        jobs = [replace(self._jobs[name], images=images) for name in self.race.contenders]
        if images is not None:
            self._now = self._ledger.read(jobs)
        left = []
        for job in jobs:
            teacher = job.card.teacher
            row = self._known.get(teacher)
            if row is not None and (images is None or not row.is_ok):
                # Who failed puts nobody out, even if it did before it failed.
                self._now.pop(teacher, None)
                rows.append(row)
                self._take(teacher, Judgement(row, _NOTHING if row.is_ok else None))
            elif teacher not in self._now:
                left.append(job)
        return left, rows

    def tell(self, job: Job, result: Judgement | Assessment) -> Assessment | None:
        """A job is done: a judgement, or a row where it failed or saw all images.

        Returns:
            A row to record, if the teacher's race is over.
        """
        teacher = job.card.teacher
        if isinstance(result, Assessment):
            result = Judgement(result, _NOTHING if result.is_ok else None)
        elif result.heat is not None:
            self._ledger.write(job, result)
        over = result.heat is None or self.race.is_last_round
        row = self._summed(teacher, result.row) if over else None
        self._take(teacher, result)
        return row

    def leave_out(self) -> None:
        """Who was neither judged nor failed in this round is not in the race."""
        race = self.race
        race.contenders = [
            name for name in race.contenders if name in self._now or name in self._failed
        ]

    @property
    def is_round_complete(self) -> bool:
        """Whether every contender was judged or failed."""
        return len(self._now) + len(self._failed) == len(self.race.contenders)

    def close_round(self) -> tuple[list[Assessment], list[Assessment]]:
        """Rows of those that go no further: new ones, and those that saw all images before."""
        heats = {name: one.heat for name, one in self._now.items() if one.heat is not None}
        new, known = [], []
        for elimination in self.race.close(heats):
            row = self._known.get(elimination.teacher)
            if row is None:
                new.append(self._eliminated(elimination))
            else:
                known.append(row)
        for teacher, judged in self._now.items():
            self._passed[teacher].append(judged)
        return new, known

    @property
    def digests(self) -> set[str]:
        """Of cards and weights of the contenders, as far as they were judged."""
        judged = (self._passed[teacher][-1:] for teacher in self.race.contenders)
        return {one.row.teacher_digest for ones in judged for one in ones}

    def _take(self, teacher: str, judged: Judgement) -> None:
        if judged.heat is None:
            self._failed.add(teacher)
        else:
            self._now[teacher] = judged

    def _eliminated(self, elimination: Elimination) -> Assessment:
        row = self._summed(elimination.teacher, self._now[elimination.teacher].row)
        return replace(row, status=Status.ELIMINATED, reason=elimination.reason)

    def _summed(self, teacher: str, row: Assessment) -> Assessment:
        """The row with the seconds of all rounds."""
        rows = [row, *(judged.row for judged in self._passed[teacher])]
        return replace(
            row,
            load_seconds=_sum([one.load_seconds for one in rows]),
            forward_seconds=_sum([one.forward_seconds for one in rows]),
            transport_seconds=_sum([one.transport_seconds for one in rows]),
        )


def _sum(seconds: Sequence[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return sum(known) if known else None


# All that counts in the last round is who is there.
_NOTHING = Heat(np.empty(0), np.empty(0))
