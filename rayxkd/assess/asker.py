"""Loads a teacher and asks it about the probe set, or looks up what it said before."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rayxkd.assess.clock import Clock
from rayxkd.assess.rows import empty_row
from rayxkd.assess.task import Job, Task
from rayxkd.cache import LocalCache
from rayxkd.leaderboard import Assessment
from rayxkd.teachers import (
    PredictionStore,
    ProbePixels,
    Said,
    Teacher,
    TeacherError,
    ViewKey,
    as_predictions,
    load_teacher,
    predict,
    teacher_digest,
)
from rayxkd.transport import Predictions


class UnchangedError(Exception):
    """The teacher is, byte for byte, the one that was assessed before."""


class Asker:
    """Asks teachers one after another; keeps the pixels and the caches that they share."""

    def __init__(
        self,
        task: Task,
        device: torch.device,
        pixels: ProbePixels | None = None,
        weights: LocalCache | None = None,
    ) -> None:
        """Prepare what teachers share.

        Args:
            task: what they are asked.
            device: where they run.
            pixels: of the probe set of ``task``; by default decoded when they are needed.
            weights: where copies of remote weights lie; by default the user's cache.
        """
        self.task = task
        self.device = device
        self._pixels = pixels or ProbePixels.of_machine(task.probe, task.probe_digest)
        self._weights = weights or LocalCache.of_user("weights")

    def part(self, places_P: NDArray[np.int64]) -> Asker:
        """One that asks about some of the images, and shares pixels and weights with this one."""
        pixels = self._pixels.part(places_P)
        return Asker(self.task.part(places_P), self.device, pixels, self._weights)

    def prepare(self, job: Job) -> None:
        """Have at hand what a teacher needs, while another is at work; nothing is loaded.

        Its weights are copied from where they lie, and the probe set is decoded for it. What goes
        wrong here goes wrong again when it is assessed, and is told then.
        """
        with suppress(TeacherError, OSError), self._local_weights(job):
            self._pixels.prepare(job.card.preprocessing)

    def row(self, job: Job) -> Assessment:
        """What is known of a teacher before it is loaded."""
        card = job.card
        return replace(
            empty_row(self.task, card),
            num_classes=card.num_classes,
            num_features=card.num_features,
            license=card.license,
            weights_version=job.version,
            device=_device_name(self.device),
        )

    def ask(self, job: Job, row: Assessment) -> tuple[Assessment, Predictions]:
        """Load a teacher and ask it.

        Returns:
            Its row with what loading and forward passes tell, and its predictions.

        Raises:
            TeacherError: it cannot be loaded, or says what is no prediction.
            UnchangedError: its digest is ``job.known_digest``.
        """
        clock = Clock()
        with self._local_weights(job) as weights:
            with clock.measure("load"):
                digest = teacher_digest(job.card, weights)
                if digest == job.known_digest:
                    raise UnchangedError
                teacher = load_teacher(
                    job.card, weights, self.device, trust_code=self.task.trust_code
                )
            with clock.measure("forward"):
                predictions, asked = self._predictions(teacher, digest)
        # What was known before says nothing of speed.
        forward = clock.seconds["forward"] if asked else None
        row = replace(
            row,
            teacher_digest=digest,
            parameters=teacher.parameters,
            num_features=_width(predictions) or job.card.num_features,
            images_seen=predictions.num_images,
            load_seconds=clock.seconds["load"],
            forward_seconds=forward,
        )
        return row, predictions

    def _local_weights(self, job: Job) -> AbstractContextManager[Path]:
        return job.repository.weights(job.card, self._weights, job.version)

    def _predictions(self, teacher: Teacher, digest: str) -> tuple[Predictions, int]:
        """What the teacher says of the probe set, and about how many images it was asked now.

        Where predictions are kept, it is asked once.
        """
        task = self.task
        if task.predictions is None:
            return predict(teacher, self._pixels, task.forward), len(self._pixels)
        store = PredictionStore(task.predictions, digest)
        keys = [ViewKey(image, 0) for image in task.probe.digests]
        missing = set(store.missing(keys))
        if missing:
            places = np.flatnonzero([key in missing for key in keys])
            said = predict(teacher, self._pixels_of(places), task.forward)
            store.write([keys[place] for place in places], Said.of(said))
            if len(places) == len(keys):
                return said, len(keys)
        return as_predictions(teacher, *store.read(keys).tensors()), len(missing)

    def _pixels_of(self, places: NDArray[np.int64]) -> ProbePixels:
        return self._pixels if len(places) == len(self._pixels) else self._pixels.part(places)


def _width(predictions: Predictions) -> int | None:
    return None if predictions.features_ND is None else predictions.features_ND.shape[1]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
