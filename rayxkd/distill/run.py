"""The life of a distillation: read, choose, ask the teachers, train, write the student."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from rich.console import Console

from rayxkd.console import literal
from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.distill.checkpoint import Checkpoint
from rayxkd.distill.export import check_onnx, write_student
from rayxkd.distill.faculty import ChosenTeacher, choose_teachers
from rayxkd.distill.gather import Task, gather_task
from rayxkd.distill.loop import Training
from rayxkd.distill.material import LabelledImages, Material, TaughtBy
from rayxkd.distill.report import (
    Score,
    StudentReport,
    TeacherUse,
    learning_curves_png,
    student_card_md,
    write_tensorboard,
)
from rayxkd.distill.settings import DistillSettings, with_config
from rayxkd.distill.students import StudentSpec, student_spec
from rayxkd.distill.teacher_pass import PassReport, ask_teachers
from rayxkd.distill.train import Assignment, train_here, train_on_ray
from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.sharing import check_shared
from rayxkd.leaderboard import Leaderboard, parquet_of
from rayxkd.secrets import without_secrets
from rayxkd.storage import Storage
from rayxkd.teachers import predictions_of

_COMPARED = "compared"
_METRICS_FILE = "metrics.parquet"
_CURVES_FILE = "curves.png"
_CARD_FILE = "README.md"


@dataclass(frozen=True)
class DistillReport:
    """What a distillation did.

    Attributes:
        url: the student's directory.
        teachers: whom it learnt from.
        passed: what the teachers' pass did.
        test: its accuracy on the test set, if there is one.
        compared: that of the same student trained on labels alone, if asked for.
        metrics: one row an epoch.
        epochs: how many were trained now; an earlier run may have trained others.
        seconds: that this took.
    """

    url: str
    teachers: tuple[ChosenTeacher, ...]
    passed: PassReport
    test: Score | None
    compared: Score | None
    metrics: pa.Table
    epochs: int
    seconds: float


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


def run_distillation(settings: DistillSettings, console: Console) -> DistillReport:
    """See :func:`rayxkd.distill.distill`."""
    settings = with_config(settings)
    settings.check()
    if settings.onnx:
        check_onnx()
    if settings.unlabelled is not None and not settings.needs_teacher:
        names = " and ".join(settings.objective)
        console.print(literal(f"--unlabelled is left aside: {names} learns from labels alone"))
    storage = Storage.at(settings.out)
    with Cluster() as cluster:
        task = gather_task(settings)
        teachers = find_teachers(settings, task)
        spec = find_student(settings, task)
        if settings.workers != 0:
            check_shared(cluster, places_of(storage, settings, teachers))
        Checkpoint(storage).begin(recorded(settings, task, teachers), fresh=settings.fresh)
        desk = Desk(settings, cluster, console)
        prepared = prepare(desk, task, teachers, spec)
        start = time.monotonic()
        training, epochs = _train(desk, prepared, storage, "student")
        seconds = time.monotonic() - start
        compared = None
        if settings.compare:
            compared = _compare(desk, prepared, storage)
    test = _score("test", training, prepared.material.test)
    metrics = _metrics(training.history)
    report = DistillReport(
        storage.url, prepared.teachers, prepared.passed, test, compared, metrics, epochs, seconds
    )
    _write(settings, prepared, training, report, storage)
    return report


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


def _train(desk: Desk, prepared: Prepared, storage: Storage, what: str) -> tuple[Training, int]:
    """The trained student, and how many epochs were left to train."""
    settings = desk.settings
    online = settings.teacher_pass == "online" and settings.needs_teacher
    assignment = Assignment(
        settings,
        prepared.spec,
        prepared.material,
        storage,
        prepared.teachers if online else (),
    )
    told: set[float] = set()
    show = _teller(settings.training.epochs, desk.console, what)

    def tell(row: dict[str, float]) -> None:
        told.add(row["epoch"])
        show(row)

    if settings.workers == 0:
        return train_here(assignment, tell), len(told)

    def note(line: str) -> None:
        desk.console.print(literal(f"{what}: {line}"))

    return train_on_ray(assignment, desk.cluster, tell, note=note), len(told)


def _metrics(history: Sequence[dict[str, float]]) -> pa.Table:
    """One row an epoch; what was not measured in some of them is null there."""
    names = dict.fromkeys(name for row in history for name in row)
    return pa.table({name: pa.array([row.get(name) for row in history]) for name in names})


def _teller(epochs: int, console: Console, what: str) -> Callable[[dict[str, float]], None]:
    """Prints a line an epoch."""

    def tell(row: dict[str, float]) -> None:
        parts = [f"{what} epoch {row['epoch']:.0f}/{epochs}", f"loss {row['loss']:.3f}"]
        parts += [
            f"{name.removeprefix('accuracy_')} {value:.1%}"
            for name, value in row.items()
            if name.startswith("accuracy_")
        ]
        console.print("  ".join(parts), highlight=False)

    return tell


def _compare(desk: Desk, prepared: Prepared, storage: Storage) -> Score | None:
    """The same student, trained as long on the labels alone."""
    settings = desk.settings
    plain = replace(settings, objective=("cross_entropy",), weight=(1.0,), unlabelled=None)
    count = prepared.task.training.num_labelled
    training = LabelledImages(
        prepared.material.training.images.first(count), prepared.material.training.labels_N[:count]
    )
    images = max(len(prepared.material.training), settings.training.epoch_images)
    plain = replace(plain, training=replace(plain.training, epoch_images=images))
    material = replace(prepared.material, training=training, faculty=())
    place = storage.child(_COMPARED)
    alone = replace(prepared, material=material, teachers=())
    trained, _ = _train(replace(desk, settings=plain), alone, place, "cross-entropy alone")
    return _score("cross-entropy alone", trained, prepared.material.test)


def _score(name: str, training: Training, images: LabelledImages | None) -> Score | None:
    if images is None:
        return None
    return Score(name, training.correct(images), len(images))


def _write(
    settings: DistillSettings,
    prepared: Prepared,
    training: Training,
    report: DistillReport,
    storage: Storage,
) -> None:
    """Metrics, pictures and card, then the student itself.

    Raises:
        UserError: it cannot be written.
    """
    licence = _licence(prepared.teachers)
    try:
        storage.write(_METRICS_FILE, parquet_of(report.metrics))
        storage.write(_CURVES_FILE, learning_curves_png(report.metrics))
        write_tensorboard(storage, report.metrics)
        card = _card(settings, prepared, training, report, licence)
        storage.write(_CARD_FILE, student_card_md(card).encode())
        write_student(
            storage,
            training.network,
            prepared.spec,
            prepared.material.class_names,
            license=licence,
            onnx=settings.onnx,
        )
    except OSError as error:
        raise UserError(
            f"the student cannot be written to {storage.url}: {error}; "
            "its training is kept: run the same again"
        ) from error


def _licence(teachers: Sequence[ChosenTeacher]) -> str | None:
    """That of the teachers, where they have the same."""
    licences = {teacher.card.license for teacher in teachers}
    return licences.pop() if len(licences) == 1 else None


def _card(
    settings: DistillSettings,
    prepared: Prepared,
    training: Training,
    report: DistillReport,
    licence: str | None,
) -> StudentReport:
    data = {"labelled": settings.data, "unlabelled": settings.unlabelled, "test": settings.test}
    objective = " + ".join(
        ["cross-entropy"]
        + [
            f"{weight:g} {name.replace('_', ' ')}"
            for name, weight in zip(settings.objective, settings.weights, strict=True)
            if name != "cross_entropy"
        ]
    )
    return StudentReport(
        title=f"{prepared.spec.architecture} for {len(prepared.material.class_names)} classes",
        spec=prepared.spec,
        parameters=sum(p.numel() for p in training.network.parameters()),
        label_names=prepared.material.class_names,
        license=licence,
        teachers=[
            TeacherUse(
                teacher.card.teacher,
                teacher.weight,
                teacher.card.license,
                teacher.card.num_classes,
            )
            for teacher in prepared.teachers
        ],
        data={name: without_secrets(address) for name, address in data.items() if address},
        objective=objective,
        settings=_flat(settings.recorded()),
        scores=[report.test] if report.test else [],
        compared_with=[report.compared] if report.compared else [],
        finished=datetime.now(UTC).date(),
        onnx=settings.onnx,
        pictures=[_CURVES_FILE],
    )


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
