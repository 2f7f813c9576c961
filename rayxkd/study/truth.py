"""The ground truth: how good what is made from a teacher really is, on test images.

Legend: N images, D features.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from rayxkd.data.images import no_labels
from rayxkd.distill.loop import Place, Training
from rayxkd.distill.material import LabelledImages, Material, TaughtBy, joined
from rayxkd.distill.students import student_spec
from rayxkd.fleet.child import Seat
from rayxkd.storage import Storage
from rayxkd.study.said import Interviewed, Words
from rayxkd.study.settings import StudySettings
from rayxkd.study.tasks import StudyTask
from rayxkd.transport import Predictions, stratified_folds

PROBE, STUDENT = "linear probe", "student"

TRUTH = pa.schema(
    [
        ("teacher", pa.string()),
        ("task", pa.string()),
        ("kind", pa.string()),
        ("seed", pa.int32()),
        ("accuracy", pa.float64()),
        ("images", pa.int64()),
        ("seconds", pa.float64()),
    ]
)

# Inverse ridges of the probe, as scikit-learn has them, that cross-validation chooses from.
_RIDGES = (0.001, 0.01, 0.1, 1.0)
_FOLDS = 3
_PARTS = 4


@dataclass(frozen=True)
class ProbeJob:
    """The linear probe of one teacher on one task."""

    teacher: Interviewed
    task: int


@dataclass(frozen=True)
class StudentJob:
    """One student.

    Attributes:
        teacher: who teaches it; ``None`` for labels alone.
        task: number of the task.
        seed: which draw.
    """

    teacher: Interviewed | None
    task: int
    seed: int


class Prober:
    """Fits linear probes."""

    def __init__(self, seat: Seat, tasks: Sequence[StudyTask], store: Storage) -> None:
        """Prepare; features are read from ``store``."""
        del seat  # scikit-learn computes on CPUs
        self._tasks, self._words = tasks, Words(store)

    def run(self, job: ProbeJob) -> list[dict[str, Any]]:
        """Fit on all images of the task's pool, and count what is right on its test images.

        There is one probe, and so no seeds to tell how sure its accuracy is. Parts of the test
        images stand in for them: each class is dealt out evenly, and each part has its row.
        """
        start = time.perf_counter()
        task = self._tasks[job.task]
        pool = self._words.predictions(job.teacher, task.pool.images)
        test = self._words.predictions(job.teacher, task.test.images)
        labels_N = task.test.labels_N
        right_N = linear_probe(pool, task.pool.labels_N, test) == labels_N
        parts = min(_PARTS, len(labels_N))
        part_N = stratified_folds(torch.from_numpy(labels_N.copy()), parts).numpy()
        seconds = time.perf_counter() - start
        return [
            {
                "teacher": job.teacher.teacher,
                "task": task.name,
                "kind": PROBE,
                "seed": part,
                "accuracy": float(right_N[part_N == part].mean()),
                "images": int((part_N == part).sum()),
                "seconds": seconds / parts,
            }
            for part in range(parts)
        ]


def linear_probe(
    pool: Predictions, labels_N: NDArray[np.int64], test: Predictions
) -> NDArray[np.int64]:
    """What a logistic regression on a teacher's features says of test images, int64.

    Features (logits of a teacher that shows none) are standardised; the ridge is chosen by
    cross-validation on the pool.

    Args:
        pool: the teacher's output on the images to fit on.
        labels_N: their labels.
        test: its output on others.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3))
    search = GridSearchCV(pipeline, {"logisticregression__C": list(_RIDGES)}, cv=_FOLDS)
    with warnings.catch_warnings():
        # The weakest ridge may not converge; it is then not the best either.
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(pool.embeddings_ND.numpy(), labels_N)
    answers: NDArray[np.int64] = search.predict(test.embeddings_ND.numpy())
    return answers


class Tutor:
    """Trains students."""

    def __init__(
        self,
        seat: Seat,
        tasks: Sequence[StudyTask],
        store: Storage,
        settings: StudySettings,
    ) -> None:
        """Prepare; what teachers say is read from ``store``."""
        self._device, self._tasks, self._settings = seat.device, tasks, settings
        self._words = Words(store)

    def run(self, job: StudentJob) -> dict[str, Any]:
        """Train a student, and count what is right on the test images."""
        start = time.perf_counter()
        return self._row(job, self.train(job), start)

    def _row(self, job: StudentJob, training: Training, start: float) -> dict[str, Any]:
        task = self._tasks[job.task]
        return {
            "teacher": None if job.teacher is None else job.teacher.teacher,
            "task": task.name,
            "kind": STUDENT,
            "seed": job.seed,
            "accuracy": training.correct(task.test) / len(task.test),
            "images": len(task.test),
            "seconds": time.perf_counter() - start,
        }

    def train(self, job: StudentJob) -> Training:
        """A trained student."""
        task = self._tasks[job.task]
        settings = self._settings.distillation(job.seed, taught=job.teacher is not None)
        spec = student_spec(self._settings.student, len(task.class_names))
        training = Training(settings, spec, self._material(job, task), Place(device=self._device))
        while not training.is_done:
            training.train_epoch()
        return training

    def _material(self, job: StudentJob, task: StudyTask) -> Material:
        settings = self._settings
        draw = task.draw(settings.labelled, settings.unlabelled, job.seed)
        images = task.pool.rows(draw.labelled_N)
        faculty: tuple[TaughtBy, ...] = ()
        if job.teacher is not None:
            more = task.pool.rows(draw.unlabelled_U)
            images = joined(images, LabelledImages(more.images, no_labels(len(more))))
            said = self._words.of(job.teacher, images.images, settings.views)
            faculty = (TaughtBy(job.teacher.teacher, 1.0, said, job.teacher.class_names),)
        return Material(task.class_names, images, None, None, settings.views, faculty)


class Alone(Tutor):
    """Trains students on labels alone, which are references for rankers too."""

    def run(self, job: StudentJob) -> Any:
        """The student's row, and its probabilities of all images of the pool, [N, M]."""
        start = time.perf_counter()
        training = self.train(job)
        row = self._row(job, training, start)
        logits_NM = training.logits_NM(self._tasks[job.task].pool)
        return row, torch.softmax(logits_NM.double(), dim=1).numpy()
