"""What is done with one teacher: load, predict, score. No Ray: any script can call it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import torch

from rayxkd.assess.asker import Asker, UnchangedError
from rayxkd.assess.clock import Clock
from rayxkd.assess.evidence import Judged, evidence_of, shown_images
from rayxkd.assess.rows import failed_row
from rayxkd.assess.scorer import Scorer
from rayxkd.assess.task import Job
from rayxkd.leaderboard import Assessment
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.status import Status
from rayxkd.teachers.errors import FAILURES


class Assessor:
    """Assesses teachers one after another; keeps what they share."""

    def __init__(self, asker: Asker, memory_bound: str = "") -> None:
        """Prepare what teachers share.

        Args:
            asker: of the whole probe set.
            memory_bound: what this process may take, in words; empty where there is no bound.
        """
        self._asker = asker
        self._scorer = Scorer(asker.task)
        self._memory_bound = memory_bound
        self._shown_P = torch.from_numpy(shown_images(asker.task.probe.labels_N))

    def assess(self, job: Job) -> Assessment | None:
        """Assess one teacher.

        Returns:
            Its row, with status and reason where it fails; ``None`` if it is unchanged.
        """
        row = self._asker.row(job)
        try:
            row = self._assess(job, row)
        except UnchangedError:
            return None
        except FAILURES as error:
            row = failed_row(row, error, self._memory_bound)
        return replace(row, finished_at=datetime.now(UTC))

    def _assess(self, job: Job, row: Assessment) -> Assessment:
        row, predictions = self._asker.ask(job, row)
        clock = Clock()
        with clock.measure("transport"):
            row, judged = self._scorer.transport(predictions, row)
        with clock.measure("metrics"):
            metrics = self._scorer.metrics(predictions)
        self._keep_evidence(row, judged)
        return replace(
            row,
            status=Status.OK,
            metrics=metrics,
            transport_seconds=clock.seconds["transport"],
            metric_seconds=clock.seconds["metrics"],
        )

    def _keep_evidence(self, row: Assessment, judged: Judged) -> None:
        """Written before the row is known: whoever reads the row finds it."""
        place = self._asker.task.evidence
        if place is None:
            return
        evidence = evidence_of(row, judged, self._scorer.labels_N, self._shown_P)
        # Without it the rank stands, but is not explained: no reason to lose the row.
        with suppress(OSError):
            EvidenceStore(place).write(evidence)
