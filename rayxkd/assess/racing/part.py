"""An assessor on a part of the probe set."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rayxkd.assess.assessor import Assessor, Job, Task
from rayxkd.assess.racing.bound import COARSE_FOLDS
from rayxkd.assess.racing.heat import image_costs
from rayxkd.assess.racing.order import race_order
from rayxkd.assess.racing.race import Heat
from rayxkd.leaderboard import Assessment
from rayxkd.status import Status


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

    def __init__(self, assessor: Assessor) -> None:
        """Prepare; images and settings are those of an assessor of the whole."""
        self._whole = assessor
        self._assessors: dict[int, _PartAssessor] = {}

    def judge(self, job: Job) -> Judgement:
        """Judge a teacher on the first ``job.images`` images in the race's order.

        It is asked only about those that it was not asked about before.
        """
        assert job.images is not None
        if job.images not in self._assessors:
            self._assessors = {job.images: _PartAssessor(self._whole, job.images)}
        return self._assessors[job.images].judge(job)


class _PartAssessor(Assessor):
    def __init__(self, whole: Assessor, images: int) -> None:
        task = whole._task
        order_N: NDArray[np.int64] = race_order(task.probe.labels_N, task.scoring.seed)
        places_P = np.sort(order_N[:images])
        super().__init__(_part_of(task, places_P), whole._device, whole._memory_bound)
        self._pixels = whole._pixels.part(places_P)

    def judge(self, job: Job) -> Judgement:
        self._heat: Heat | None = None
        row = self.assess(replace(job, known_digest=None))
        assert row is not None  # without a digest to compare with, none is unchanged
        return Judgement(row, self._heat if row.is_ok else None)

    def _assess(self, job: Job, row: Assessment) -> Assessment:
        row, predictions = self._ask(job, row)
        start = time.perf_counter()
        row, judged = self._score_transport(predictions, row)
        coarse_P = image_costs(
            self._ground_cost(predictions)[0],
            predictions,
            self._labels_N,
            self._reference_NM,
            folds=COARSE_FOLDS,
            seed=self._task.scoring.seed,
        )
        self._heat = Heat(judged.score.cost_N.numpy(force=True), coarse_P)
        return replace(row, status=Status.OK, transport_seconds=time.perf_counter() - start)


def _part_of(task: Task, places_P: NDArray[np.int64]) -> Task:
    """The same question about some of the images, with no other metric."""
    reference = task.reference_NM
    return replace(
        task,
        probe=task.probe.part(places_P),
        reference_NM=None if reference is None else reference[places_P],
        scoring=replace(task.scoring, metrics=()),
        evidence=None,
    )
