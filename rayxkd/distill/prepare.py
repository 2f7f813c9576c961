"""What a training starts from: the teachers, what they said, and the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from rayxkd.console import literal
from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.distill.faculty import ChosenTeacher, choose_teachers
from rayxkd.distill.gather import Task
from rayxkd.distill.material import Material, TaughtBy
from rayxkd.distill.settings import DistillSettings
from rayxkd.distill.students import StudentSpec, student_spec
from rayxkd.distill.teacher_pass import PassReport, ask_teachers
from rayxkd.fleet.cluster import Cluster
from rayxkd.leaderboard import Leaderboard
from rayxkd.storage import Storage
from rayxkd.teachers import predictions_of


@dataclass(frozen=True)
class Prepared:
    """All that a training starts from.

    Attributes:
        task: the images.
        teachers: the chosen ones.
        material: images and what the teachers said.
        spec: the student.
        passed: what the teachers' pass did.
    """

    task: Task
    teachers: tuple[ChosenTeacher, ...]
    material: Material
    spec: StudentSpec
    passed: PassReport


@dataclass(frozen=True)
class Desk:
    """Where a distillation works.

    Attributes:
        settings: what it is asked to do.
        cluster: Ray, started when it is needed.
        console: where progress is told.
    """

    settings: DistillSettings
    cluster: Cluster
    console: Console


def prepare(
    desk: Desk, task: Task, teachers: Sequence[ChosenTeacher], spec: StudentSpec
) -> Prepared:
    """Ask the teachers, unless all is known, and put together what training needs.

    Raises:
        UserError: a teacher cannot be asked.
    """
    settings = desk.settings
    faculty: tuple[TaughtBy, ...] = ()
    passed = PassReport(0, 0)
    if teachers:
        online = settings.teacher_pass == "online"
        labelled = task.training.num_labelled
        images = task.training.images.first(labelled) if online else task.training.images
        store = predictions_of(settings.leaderboard)
        said, passed = ask_teachers(
            teachers,
            images,
            1 if online else settings.views,
            store,
            desk.cluster,
            workers=0 if settings.workers == 0 else None,
            trust_code=settings.trust_code,
        )
        faculty = tuple(
            TaughtBy(teacher.card.teacher, teacher.weight, words, teacher.card.label_names)
            for teacher, words in zip(teachers, said, strict=True)
        )
        _tell_pass(desk, task, teachers, passed)
    material = Material(
        task.class_names, task.training, task.validation, task.test, settings.views, faculty
    )
    return Prepared(task, tuple(teachers), material, spec, passed)


def _tell_pass(
    desk: Desk, task: Task, teachers: Sequence[ChosenTeacher], passed: PassReport
) -> None:
    names = ", ".join(teacher.card.teacher for teacher in teachers)
    parts = [
        f"{task.training.num_labelled} labelled",
        f"{task.unlabelled} unlabelled" if task.unlabelled else "",
        f"{task.mixtures} mixed" if task.mixtures else "",
    ]
    images = ", ".join(part for part in parts if part)
    line = f"{names}: {images} images; {passed.asked} views asked, {passed.known} known before"
    if desk.settings.teacher_pass == "online":
        line = f"{names}: {images} images; asked in every step"
    desk.console.print(literal(line), soft_wrap=True)


def find_teachers(settings: DistillSettings, task: Task) -> list[ChosenTeacher]:
    """Those that the settings name, if the objective needs any.

    Raises:
        UserError: see :func:`choose_teachers`.
    """
    if not settings.needs_teacher:
        return []
    board = Leaderboard.open(settings.leaderboard)
    return choose_teachers(board, settings.teacher, task.class_names)


def places_of(
    out: Storage, settings: DistillSettings, teachers: Sequence[ChosenTeacher]
) -> list[tuple[str, Storage]]:
    """What is read or written where the work is done, with the names of the options."""
    if not teachers:
        return [("out", out)]
    repositories = {place.url: place for teacher in teachers for place in teacher.repository.places}
    return [
        ("out", out),
        ("leaderboard", Storage.at(settings.leaderboard)),
        *(("repository", storage) for storage in repositories.values()),
    ]


def find_student(settings: DistillSettings, task: Task) -> StudentSpec:
    """The student that the settings name.

    Raises:
        UserError: see :func:`student_spec`.
    """
    side = settings.image_size
    if side is None and settings.data.startswith(DEMO_SCHEME):
        # The demo's scans have 8 pixels a side; more would only take longer.
        side = max(task.training.images.decoded(0).size)
    return student_spec(settings.student, len(task.class_names), image_size=side)


def recorded(
    settings: DistillSettings, task: Task, teachers: Sequence[ChosenTeacher]
) -> dict[str, Any]:
    """What a student depends on, as JSON values."""
    digests = {teacher.card.teacher: teacher.digest for teacher in teachers}
    return settings.recorded() | {"images": task.digest, "teachers": digests}
