"""Sketches one teacher after another, in the process where they are loaded."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayxkd.cache import LocalCache
from rayxkd.data import EncodedImages
from rayxkd.fleet.child import Seat
from rayxkd.sketches.sketch import Sketch, make_sketch
from rayxkd.teachers import (
    Forward,
    ProbePixels,
    Repository,
    TeacherCard,
    TeacherError,
    load_teacher,
    predict,
    teacher_digest,
)
from rayxkd.teachers.errors import FAILURES, teachers_fault


@dataclass(frozen=True)
class Reference:
    """What every teacher is asked.

    Attributes:
        images: R of them.
        places_RD: where they are in the common space, float64.
        digest: of the images.
        forward: how a teacher is run.
        known: digests of teachers whose sketch is there already.
        trust_code: load formats that can run code.
    """

    images: EncodedImages
    places_RD: NDArray[np.float64]
    digest: str
    forward: Forward
    known: frozenset[str]
    trust_code: bool


@dataclass(frozen=True)
class SketchJob:
    """One teacher to sketch.

    Attributes:
        card: the teacher.
        repository: where it lies.
        version: the mark of card and weights.
    """

    card: TeacherCard
    repository: Repository
    version: str


@dataclass(frozen=True)
class Answer:
    """What came of a teacher.

    Attributes:
        digest: of its weights; empty where they cannot be read.
        columns: its sketch, and what else is measured, by column; ``None`` where its digest is
            known, or where it failed.
        reason: why it failed, if it did.
    """

    digest: str = ""
    columns: dict[str, Any] | None = None
    reason: str = ""


class Sketcher:
    """A runner of :func:`rayxkd.fleet.runner_pool`."""

    def __init__(self, seat: Seat, reference: Reference) -> None:
        """Prepare what teachers share."""
        self._seat, self._reference = seat, reference
        self._pixels = ProbePixels.of_machine(reference.images, reference.digest)
        self._weights = LocalCache.of_user("weights")

    def prepare(self, job: SketchJob) -> None:
        """Have weights and pixels at hand; what goes wrong here is told by :meth:`run`."""
        weights = job.repository.weights(job.card, self._weights, job.version)
        with suppress(TeacherError, OSError), weights:
            self._pixels.prepare(job.card.preprocessing)

    def run(self, job: SketchJob) -> Answer:
        """Ask a teacher about the reference images."""
        try:
            return self._sketch(job)
        except FAILURES as error:
            return Answer(reason=teachers_fault(error, self._seat.memory_bound).reason)

    def _sketch(self, job: SketchJob) -> Answer:
        card, reference = job.card, self._reference
        with job.repository.weights(card, self._weights, job.version) as weights:
            digest = teacher_digest(card, weights)
            if digest in reference.known:
                return Answer(digest)
            teacher = load_teacher(
                card, weights, self._seat.device, trust_code=reference.trust_code
            )
            start = time.perf_counter()
            predictions = predict(teacher, self._pixels, reference.forward)
            seconds = time.perf_counter() - start
        columns = {
            **sketch_columns(make_sketch(predictions, reference.places_RD)),
            "num_classes": card.num_classes,
            "class_names": list(card.label_names),
            "parameters": teacher.parameters,
            "forward_seconds": seconds,
        }
        return Answer(digest, columns)


def sketch_columns(sketch: Sketch) -> dict[str, Any]:
    """A sketch as values of its columns."""
    return {
        "prototypes": sketch.prototypes_PD.reshape(-1),
        "mass": sketch.mass_P,
        "prototype_classes": sketch.classes_P,
        "confidence": sketch.confidence,
        "information": sketch.information,
    }
