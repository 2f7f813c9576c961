"""A teacher judged on a part of the probe set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from rayxkd.assess.asker import Asker
from rayxkd.assess.clock import Clock
from rayxkd.assess.racing.bound import COARSE_FOLDS
from rayxkd.assess.racing.heat import image_costs
from rayxkd.assess.racing.order import race_order
from rayxkd.assess.racing.race import Heat
from rayxkd.assess.rows import failed_row
from rayxkd.assess.scorer import Scorer
from rayxkd.assess.task import Job
from rayxkd.leaderboard import Assessment
from rayxkd.status import Status
from rayxkd.teachers.errors import FAILURES


@dataclass(frozen=True)
class Judgement:
    """What came of one teacher in one round.

    Attributes:
        row: its row so far; not ``ok`` where it failed.
        heat: its costs; ``None`` where it failed.
    """

    row: Assessment
    heat: Heat | None


class Judge:
    """Judges teachers on parts of the probe set; keeps what they share."""

    def __init__(self, asker: Asker, memory_bound: str = "") -> None:
        """Prepare what teachers share.

        Args:
            asker: of the whole probe set.
            memory_bound: what this process may take, in words; empty where there is no bound.
        """
        self._whole = asker
        self._memory_bound = memory_bound
        # A round has one part, and does not return to that of an earlier one.
        self._part: tuple[int, Asker, Scorer] | None = None

    def judge(self, job: Job) -> Judgement:
        """Judge a teacher on the first ``job.images`` images in the race's order.

        It is asked only about those that it was not asked about before.
        """
        assert job.images is not None
        asker, scorer = self._part_of(job.images)
        # Without a digest to compare with, none is unchanged.
        job = replace(job, known_digest=None)
        row, heat = asker.row(job), None
        try:
            row, heat = _judge(job, row, asker, scorer)
        except FAILURES as error:
            row = failed_row(row, error, self._memory_bound)
        return Judgement(replace(row, finished_at=datetime.now(UTC)), heat)

    def _part_of(self, images: int) -> tuple[Asker, Scorer]:
        if self._part is None or self._part[0] != images:
            task = self._whole.task
            order_N = race_order(task.probe.labels_N, task.scoring.seed)
            asker = self._whole.part(np.sort(order_N[:images]))
            self._part = (images, asker, Scorer(asker.task))
        return self._part[1:]


def _judge(job: Job, row: Assessment, asker: Asker, scorer: Scorer) -> tuple[Assessment, Heat]:
    row, predictions = asker.ask(job, row)
    clock = Clock()
    with clock.measure("transport"):
        row, judged = scorer.transport(predictions, row)
        coarse_P = image_costs(
            scorer.ground_cost(predictions)[0],
            predictions,
            scorer.labels_N,
            scorer.reference_NM,
            folds=COARSE_FOLDS,
            seed=asker.task.scoring.seed,
        )
    row = replace(row, status=Status.OK, transport_seconds=clock.seconds["transport"])
    return row, Heat(judged.score.cost_N.numpy(force=True), coarse_P)
