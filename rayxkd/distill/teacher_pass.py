"""The teachers' pass: every teacher is asked once about every view of every image.

Actors share the work. What they are told is written at once, so that nothing is asked again, by
whatever run on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rayxkd.data import EncodedImages
from rayxkd.data.views import View, Viewed, fixed_view
from rayxkd.distill.faculty import ChosenTeacher
from rayxkd.distill.objectives import TeacherSays
from rayxkd.errors import UserError
from rayxkd.fleet.child import Seat
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.runners import Limits, runner_pool
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers import (
    Forward,
    PredictionStore,
    ProbePixels,
    Said,
    Teacher,
    TeacherError,
    ViewKey,
    load_teacher,
    predict,
    teacher_digest,
)
from rayxkd.teachers.loaders.libraries import modules_of

# Views in one file: enough to be worth a forward pass, few enough that little is lost.
_CHUNK = 256


@dataclass(frozen=True)
class Question:
    """Some views of some images for one teacher.

    Attributes:
        teacher: whom to ask.
        places: which images.
        views: which view of each.
        keys: how the answer is filed.
    """

    teacher: ChosenTeacher
    places: tuple[int, ...]
    views: tuple[int, ...]
    keys: tuple[ViewKey, ...]


@dataclass(frozen=True)
class PassReport:
    """What a pass did.

    Attributes:
        asked: how many views went through a teacher.
        known: how many had been asked before.
    """

    asked: int
    known: int


class Examiner:
    """Asks teachers; keeps the last one loaded."""

    def __init__(self, seat: Seat, images: EncodedImages, store: Storage, trust_code: bool) -> None:
        """Prepare to ask about ``images`` and to write to ``store``."""
        self._images, self._store = images, store
        self._device, self._trust_code = seat.device, trust_code
        self._loaded: tuple[str, Teacher] | None = None

    def run(self, question: Question) -> str:
        """Ask and write the answer; returns why that failed, or nothing."""
        try:
            teacher = self._teacher(question.teacher)
            said = ask(teacher, self._images, question.places, question.views)
        except TeacherError as error:
            return error.reason
        PredictionStore(self._store, question.teacher.digest).write(question.keys, said)
        return ""

    def _teacher(self, chosen: ChosenTeacher) -> Teacher:
        if self._loaded is None or self._loaded[0] != chosen.digest:
            self._loaded = (chosen.digest, open_teacher(chosen, self._device, self._trust_code))
        return self._loaded[1]


def ask(
    teacher: Teacher, images: EncodedImages, places: Sequence[int], views: Sequence[int]
) -> Said:
    """What a teacher says of some fixed views.

    Args:
        teacher: whom to ask.
        images: of which some are shown.
        places: which of them.
        views: number of the view of each.

    Raises:
        TeacherError: see :func:`rayxkd.teachers.predict`.
    """
    shown = tuple(
        fixed_view(view, images.digests[place]) for place, view in zip(places, views, strict=True)
    )
    return Said.of(predict(teacher, ProbePixels(Viewed(images, tuple(places), shown))))


def open_teacher(chosen: ChosenTeacher, device: torch.device, trust_code: bool) -> Teacher:
    """Load a teacher of the leaderboard.

    Raises:
        TeacherError: it cannot be loaded, or is not what was assessed.
    """
    with chosen.repository.weights(chosen.card) as weights:
        _check_digest(chosen, weights)
        return load_teacher(chosen.card, weights, device, trust_code=trust_code)


def _check_digest(chosen: ChosenTeacher, weights: Path) -> None:
    if teacher_digest(chosen.card, weights) != chosen.digest:
        raise TeacherError(
            Status.INVALID, "it is not what was assessed, its files have changed: assess it again"
        )


def ask_teachers(
    teachers: Sequence[ChosenTeacher],
    images: EncodedImages,
    views: int,
    store: Storage,
    cluster: Cluster,
    *,
    workers: int | None = None,
    trust_code: bool = False,
) -> tuple[list[Said], PassReport]:
    """What each teacher says of views 0 to ``views`` - 1 of every image, row n V + v.

    Args:
        teachers: whom to ask.
        images: N images.
        views: V.
        store: where answers are kept and looked for first.
        cluster: whose actors ask.
        workers: 0 asks in this process; else actors fill the cluster.
        trust_code: see :func:`rayxkd.teachers.load_teacher`.

    Raises:
        UserError: a teacher cannot be asked, or the store cannot be written.
    """
    keys = [ViewKey(digest, view) for digest in images.digests for view in range(views)]
    stores = [PredictionStore(store, teacher.digest) for teacher in teachers]
    questions = [
        question
        for teacher, known in zip(teachers, stores, strict=True)
        for question in _questions(teacher, keys, views, known)
    ]
    if questions:
        shared, limits = (images, store, trust_code), Limits(workers=workers)
        modules = modules_of(teacher.card.library for teacher in teachers)
        pool = runner_pool(len(questions), Examiner, shared, cluster, limits, modules=modules)
        for answer in pool.run(questions, lambda: True):
            reason = answer.reason or answer.value
            if reason:
                name = answer.job.teacher.card.teacher
                raise UserError(f"teacher '{name}' cannot be asked: {reason}")
    said = [known.read(keys) for known in stores]
    asked = sum(len(question.keys) for question in questions)
    return said, PassReport(asked, len(keys) * len(teachers) - asked)


def _questions(
    teacher: ChosenTeacher, keys: Sequence[ViewKey], views: int, known: PredictionStore
) -> list[Question]:
    """What is not known yet; of an image that is there twice, once."""
    place = {key: number // views for number, key in reversed(list(enumerate(keys)))}
    missing = known.missing(place)
    missing.sort(key=lambda key: (place[key], key.view))
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    return [
        Question(
            teacher,
            tuple(place[key] for key in chunk),
            tuple(key.view for key in chunk),
            tuple(chunk),
        )
        for chunk in chunks
    ]


class OnlineTeachers:
    """Teachers that are asked about what the student sees, in every step."""

    def __init__(
        self,
        teachers: Sequence[ChosenTeacher],
        images: EncodedImages,
        device: torch.device,
        *,
        trust_code: bool = False,
    ) -> None:
        """Load them all."""
        self._images = images
        self._teachers = [open_teacher(chosen, device, trust_code) for chosen in teachers]

    def __call__(
        self, places_B: NDArray[np.int64], views: Sequence[View]
    ) -> tuple[TeacherSays, ...]:
        """See :class:`rayxkd.distill.loop.AskTeachers`."""
        seen = Viewed(self._images, tuple(int(place) for place in places_B), tuple(views))
        says = []
        for teacher in self._teachers:
            predictions = predict(teacher, ProbePixels(seen), Forward(batch_size=len(seen)))
            says.append(
                TeacherSays.on(teacher.device, predictions.logits_NK, predictions.features_ND)
            )
        return tuple(says)
