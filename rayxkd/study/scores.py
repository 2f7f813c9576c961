"""Every ranker's score of every teacher on every draw of every task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from rayxkd.fleet.child import Seat
from rayxkd.storage import Storage
from rayxkd.study.rankers import Question, rankers
from rayxkd.study.said import Interviewed, Words
from rayxkd.study.settings import StudySettings
from rayxkd.study.tasks import StudyTask
from rayxkd.transport import Predictions

SCORES = pa.schema(
    [
        ("teacher", pa.string()),
        ("task", pa.string()),
        ("seed", pa.int32()),
        ("ranker", pa.string()),
        ("score", pa.float64()),
        ("seconds", pa.float64()),
        ("probe_images", pa.int32()),
    ]
)

# Probabilities of students that were trained on labels alone, of a task's whole pool: [N, M].
References = Mapping[tuple[int, int], NDArray[np.float64]]


@dataclass(frozen=True)
class ScoreJob:
    """All scores of one teacher on one draw of a task.

    Attributes:
        teacher: who.
        task: number of the task.
        seed: which draw.
        names: of the rankers.
    """

    teacher: Interviewed
    task: int
    seed: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"scoring teacher '{self.teacher}'"


class Scorer:
    """Scores teachers."""

    def __init__(
        self,
        seat: Seat,
        tasks: Sequence[StudyTask],
        store: Storage,
        settings: StudySettings,
        references: References,
    ) -> None:
        """Prepare; what teachers say is read from ``store``."""
        del seat  # probe sets are small
        self._tasks, self._settings, self._references = tasks, settings, references
        self._words = Words(store)

    def run(self, job: ScoreJob) -> list[dict[str, Any]]:
        """Rows of ``SCORES``."""
        question = self._question(job)
        known = rankers()
        rows = []
        for name in job.names:
            start = time.perf_counter()
            score = known[name].score(question)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "teacher": job.teacher.teacher,
                    "task": self._tasks[job.task].name,
                    "seed": job.seed,
                    "ranker": name,
                    "score": score,
                    "seconds": seconds,
                    "probe_images": question.predictions.num_images,
                }
            )
        return rows

    def _question(self, job: ScoreJob) -> Question:
        task, settings = self._tasks[job.task], self._settings
        draw = task.draw(settings.labelled, settings.unlabelled, job.seed)
        predictions = self._words.predictions(job.teacher, task.pool.images)
        # Where no image is without label, a student is asked about those that it has learnt.
        others = draw.unlabelled_U if len(draw.unlabelled_U) else draw.labelled_N
        return Question(
            job.teacher,
            _rows(predictions, draw.labelled_N),
            torch.from_numpy(task.pool.labels_N[draw.labelled_N]),
            task.class_names,
            job.seed,
            _rows(predictions, others),
            torch.from_numpy(self._references[job.task, job.seed][others]),
        )


def _rows(predictions: Predictions, places: NDArray[np.int64]) -> Predictions:
    return predictions.rows(torch.from_numpy(places))
