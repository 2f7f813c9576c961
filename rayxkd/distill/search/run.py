"""The life of a search: read, ask the teachers once, try settings, write what came of it."""

from __future__ import annotations

import signal
from typing import Any

from rich.console import Console

import rayxkd
from rayxkd.console import on_sigterm
from rayxkd.distill.checkpoint import Checkpoint
from rayxkd.distill.faculty import ChosenTeacher
from rayxkd.distill.gather import Task, gather_task
from rayxkd.distill.prepare import (
    Desk,
    Prepared,
    find_student,
    find_teachers,
    places_of,
    prepare,
    recorded,
)
from rayxkd.distill.search.results import Judge, SearchReport, write_results
from rayxkd.distill.search.settings import TuneSettings
from rayxkd.distill.search.space import Space
from rayxkd.distill.search.trial import Orders, share_of
from rayxkd.distill.settings import DistillSettings
from rayxkd.distill.teacher_pass import PassReport
from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.machines import resources
from rayxkd.fleet.sharing import check_shared
from rayxkd.leaderboard import Leaderboard, TrialRow, TrialStatus, ranked_trials, search_table
from rayxkd.secrets import without_secrets
from rayxkd.storage import Storage

_ASKED_FILE = "asked.json"


def run_search(settings: TuneSettings, console: Console) -> SearchReport:
    """See :func:`rayxkd.distill.search.tune`."""
    base = settings.base()
    storage = Storage.at(settings.out)
    with Cluster(dashboard=settings.workers > 1) as cluster:
        task, teachers = _gather(settings, base, storage, cluster)
        spec = find_student(base, task)
        share = share_of(resources(cluster.connect()), settings)
        with on_sigterm(_interrupt):  # Ray has set its own handler when it was started
            prepared = prepare(Desk(base, cluster, console), task, teachers, spec)
            asked = _asked_in_all(storage, prepared.passed)
            # Tune writes the space down, and no trial opens an address of it.
            space = Space(base.without_secrets())
            orders = Orders(space, spec, prepared.material, storage, share)
            rows = _try_all(settings, orders, console)
    table = search_table(rows, _about(settings, prepared, asked))
    report = SearchReport(Leaderboard.of(storage.url, table), tuple(rows), settings.trials)
    write_results(storage, report)
    if all(row.status is TrialStatus.FAILED for row in rows) and not report.interrupted:
        raise UserError(f"every trial failed, the first with: {rows[0].reason}")
    return report


def _gather(
    settings: TuneSettings, base: DistillSettings, storage: Storage, cluster: Cluster
) -> tuple[Task, list[ChosenTeacher]]:
    """Images and teachers, after a look at whether the search may be made, or go on, in its place.

    Raises:
        UserError: it may not, or images or teachers are not there.
    """
    task = gather_task(base)
    teachers = find_teachers(base, task)
    check_shared(cluster, places_of(storage, base, teachers))
    note = recorded(base, task, teachers) | settings.recorded()
    Checkpoint(storage, "search").begin(note, fresh=settings.fresh)
    return task, teachers


def _try_all(settings: TuneSettings, orders: Orders, console: Console) -> list[TrialRow]:
    """Run all trials, or those that are left; all rows, ranked."""
    from rayxkd.distill.search.tuning import run_trials  # it imports Ray

    validation = orders.material.validation
    images = 0 if validation is None else len(validation)
    judge = Judge(orders.space.base.training.epochs, images)
    return ranked_trials(run_trials(settings, orders, judge, console))


def _asked_in_all(storage: Storage, passed: PassReport) -> int:
    """How many views went through a teacher, in this run and those that it continues.

    Raises:
        UserError: the count cannot be written.
    """
    try:
        before = int(storage.read(_ASKED_FILE)) if storage.exists(_ASKED_FILE) else 0
        storage.write(_ASKED_FILE, str(before + passed.asked).encode())
    except (OSError, ValueError) as error:
        where = storage.url_of(_ASKED_FILE)
        raise UserError(f"{where} cannot be read or written: {error}") from error
    return before + passed.asked


def _about(settings: TuneSettings, prepared: Prepared, asked: int) -> dict[str, Any]:
    """What a reader of the table should know."""
    material, passed = prepared.material, prepared.passed
    return {
        "data": without_secrets(settings.data),
        "settings": settings.base().recorded() | settings.recorded(),
        "teachers": [teacher.card.teacher for teacher in prepared.teachers],
        "validation_images": 0 if material.validation is None else len(material.validation),
        "views_asked": asked,
        "views_known": passed.asked + passed.known - asked,
        "rayxkd_version": rayxkd.__version__,
    }


def _interrupt() -> None:
    """As Ctrl-C does, also where Tune listens for that."""
    signal.raise_signal(signal.SIGINT)
