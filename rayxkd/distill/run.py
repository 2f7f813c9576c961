"""The life of a distillation: read, choose, ask the teachers, train, write the student."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from rayxkd.console import literal
from rayxkd.distill.card import Score
from rayxkd.distill.checkpoint import Checkpoint
from rayxkd.distill.export import check_onnx
from rayxkd.distill.gather import gather_task
from rayxkd.distill.loop import Training
from rayxkd.distill.material import LabelledImages
from rayxkd.distill.outcome import DistillReport, metrics_of, write_outcome
from rayxkd.distill.prepare import (
    Desk,
    Prepared,
    find_student,
    find_teachers,
    places_of,
    prepare,
    recorded,
)
from rayxkd.distill.settings import DistillSettings, with_config
from rayxkd.distill.train import Assignment, train_here, train_on_ray
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.sharing import check_shared
from rayxkd.storage import Storage

_COMPARED = "compared"


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
    metrics = metrics_of(training.history)
    report = DistillReport(
        storage.url, prepared.teachers, prepared.passed, test, compared, metrics, epochs, seconds
    )
    write_outcome(settings, prepared, training, report, storage)
    return report


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
