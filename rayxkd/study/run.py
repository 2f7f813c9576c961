"""The life of a study: ask every teacher, score them, find the truth, compare."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from rayxkd.claim import Claim
from rayxkd.console import literal
from rayxkd.errors import UserError
from rayxkd.fleet.child import RunnerClass
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.pool import Finished
from rayxkd.fleet.sharing import check_shared
from rayxkd.leaderboard import parquet_of
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.study.analysis import TruthReport, agreement_table, analyse
from rayxkd.study.interview import TEACHERS, Candidate, Interviewer, candidates, questions
from rayxkd.study.ledger import Ledger
from rayxkd.study.report import report_html
from rayxkd.study.results import Results
from rayxkd.study.said import Interviewed
from rayxkd.study.scores import SCORES, References, ScoreJob, Scorer
from rayxkd.study.settings import StudySettings
from rayxkd.study.tasks import StudyTask, read_tasks
from rayxkd.study.truth import TRUTH, Alone, ProbeJob, Prober, StudentJob, Tutor
from rayxkd.study.workers import run_jobs
from rayxkd.teachers.card import RejectedCard

_NOTE = "study.json"
_PREDICTIONS, _REFERENCES = "predictions", "references"
_TOLD_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Office:
    """Where a study works.

    Attributes:
        settings: what it is asked to find out.
        tasks: the target tasks.
        storage: its directory.
        cluster: Ray, started when it is needed.
        console: where progress is told.
    """

    settings: StudySettings
    tasks: Sequence[StudyTask]
    storage: Storage
    cluster: Cluster
    console: Console

    @property
    def store(self) -> Storage:
        """Where what teachers said is kept."""
        return self.storage.child(_PREDICTIONS)

    @property
    def draws(self) -> list[tuple[int, int]]:
        """Number of the task and seed of every draw."""
        first, count = self.settings.seed, self.settings.seeds
        return [
            (task, seed) for task in range(len(self.tasks)) for seed in range(first, first + count)
        ]

    def have_done(
        self, what: str, jobs: Sequence[Any], runner: RunnerClass, shared: Sequence[Any]
    ) -> Iterator[Finished[Any]]:
        """Do jobs, tell how far they are, and yield each as it ends."""
        start = told = time.monotonic()
        ended = run_jobs(jobs, runner, shared, self.cluster, self.settings.workers)
        for done, finished in enumerate(ended, 1):
            yield finished
            now = time.monotonic()
            if done == len(jobs) or now - told > _TOLD_EVERY_SECONDS:
                told, left = now, (now - start) / done * (len(jobs) - done)
                rest = (
                    f", about {left:.0f} s left" if done < len(jobs) else f", {now - start:.0f} s"
                )
                self.console.print(literal(f"{what}: {done}/{len(jobs)}{rest}"), soft_wrap=True)


@dataclass(frozen=True)
class StudyReport:
    """What a study found.

    Attributes:
        url: its directory.
        results: the tables.
        truths: rankers against truths.
    """

    url: str
    results: Results
    truths: list[TruthReport]


def run_study(settings: StudySettings, console: Console) -> StudyReport:
    """See :func:`rayxkd.study.study`."""
    results = gather_results(settings, console)
    truths = analyse(results, settings.chosen_on)
    storage = Storage.at(settings.out)
    _write(storage, "agreement.parquet", parquet_of(agreement_table(truths)))
    _write(storage, "report.html", report_html(truths, results, asdict(settings)))
    return StudyReport(storage.url, results, truths)


def gather_results(settings: StudySettings, console: Console) -> Results:
    """Do all that is not done yet, and put the tables together.

    Raises:
        UserError: see :func:`rayxkd.study.study`.
    """
    settings.check()
    tasks = read_tasks(settings)
    found, rejected = candidates(settings.repository)
    storage = Storage.at(settings.out)
    with Cluster() as cluster:
        if settings.workers != 0:
            repositories = {place.url: place for one in found for place in one.repository.places}
            places = [("repository", repository) for repository in repositories.values()]
            check_shared(cluster, [("out", storage), *places])
        _begin(storage, settings)
        office = Office(settings, tasks, storage, cluster, console)
        teachers = _interview(office, found, rejected)
        asked = _interviewed(teachers)
        if len(asked) < 2:
            raise UserError("fewer than two teachers can be loaded: there is nothing to rank")
        references, alone = _students_alone(office)
        scores = _score(office, asked, references)
        truth = [alone, _probe(office, asked), _teach(office, asked)]
    results = Results(teachers, scores, pa.concat_tables(truth))
    for name, table in vars(results).items():
        _write(storage, f"{name}.parquet", parquet_of(table))
    return results


def _begin(storage: Storage, settings: StudySettings) -> None:
    """Check that the directory is free or holds the same study.

    Raises:
        UserError: it holds something else.
    """

    recorded = settings.recorded()
    claim = Claim(storage, _NOTE, "study")

    def compare(earlier: dict[str, Any]) -> None:
        for name, value in recorded.items():
            if earlier.get(name) != value:
                raise claim.differs(name.replace("_", "-"), earlier.get(name), value)

    # What teachers said depends on no setting: it is kept even by --fresh.
    entries = ("parts", _REFERENCES)
    claim.begin(recorded, compare, fresh=settings.fresh, entries=entries)


def _interview(
    office: Office, found: Sequence[Candidate], rejected: Sequence[RejectedCard]
) -> pa.Table:
    """Ask every teacher; their table, those that cannot be loaded among them."""
    asked = questions(office.tasks, office.settings.views)
    ledger = Ledger(office.storage, "teachers", TEACHERS)
    about = [*asked.images.digests, office.settings.views, office.settings.trust_code]
    name = {one.card.teacher: ledger.name(one.version, one.card.teacher, *about) for one in found}
    done = ledger.done()
    # The largest first, so that nobody waits at the end.
    jobs = sorted(
        (one for one in found if name[one.card.teacher] not in done),
        key=lambda one: -one.card.weights_bytes,
    )
    shared = (asked, office.store, office.settings.trust_code)
    for finished in office.have_done("teachers asked", jobs, Interviewer, shared):
        ledger.write(name[finished.job.card.teacher], [finished.value])
    refused = [
        {"teacher": card.teacher, "status": card.status, "reason": card.reason} for card in rejected
    ]
    table = pa.concat_tables(
        [ledger.read(name.values()), pa.Table.from_pylist(refused, schema=TEACHERS)]
    )
    for row in table.to_pylist():
        if row["status"] != Status.OK:
            line = f"{row['teacher']} is {row['status']}: {row['reason']}"
            office.console.print(literal(line), soft_wrap=True)
    return table.sort_by("teacher")


def _interviewed(teachers: pa.Table) -> list[Interviewed]:
    return [
        Interviewed(
            row["teacher"],
            row["digest"],
            tuple(row["class_names"]),
            row["parameters"],
            row["own_accuracy"],
        )
        for row in teachers.to_pylist()
        if row["status"] == Status.OK
    ]


def _students_alone(office: Office) -> tuple[References, pa.Table]:
    """Train students on labels alone: what they say of every pool, and their rows of ``TRUTH``."""
    ledger = Ledger(office.storage, "alone", TRUTH)
    places = {draw: _reference_file(office, *draw) for draw in office.draws}
    done = ledger.done()
    names = {draw: ledger.name(*_student_key(office, None, *draw)) for draw in office.draws}
    jobs = [
        StudentJob(None, *draw)
        for draw in office.draws
        if names[draw] not in done or not office.storage.exists(places[draw])
    ]
    shared = (office.tasks, office.store, office.settings)
    for finished in office.have_done("students of labels alone", jobs, Alone, shared):
        row, probabilities_NM = finished.value
        draw = finished.job.task, finished.job.seed
        content = io.BytesIO()
        np.save(content, probabilities_NM)
        _write(office.storage, places[draw], content.getvalue())
        ledger.write(names[draw], [row])
    references = {
        draw: np.load(io.BytesIO(office.storage.read(place))) for draw, place in places.items()
    }
    return references, ledger.read(names.values())


def _reference_file(office: Office, task: int, seed: int) -> str:
    key = Ledger.name(*_student_key(office, None, task, seed)).removesuffix(".parquet")
    return f"{_REFERENCES}/{key}.npy"


def _student_key(
    office: Office, teacher: Interviewed | None, task: int, seed: int
) -> tuple[Any, ...]:
    return (teacher.digest if teacher else "", office.tasks[task].digest, seed)


def _score(office: Office, teachers: Sequence[Interviewed], references: References) -> pa.Table:
    """Every ranker's scores; those of a ranker that is new are added to what is there."""
    ledger = Ledger(office.storage, "scores", SCORES)
    draws = {
        ledger.stem(*_student_key(office, teacher, *draw)): (teacher, *draw)
        for teacher in teachers
        for draw in office.draws
    }
    known: dict[str, set[str]] = {stem: set() for stem in draws}
    before = ledger.tables(name for name in ledger.done() if name.partition("_")[0] in draws)
    for name, table in before.items():
        known[name.partition("_")[0]].update(table["ranker"].to_pylist())
    wanted = {
        stem: tuple(ranker for ranker in office.settings.rankers if ranker not in known[stem])
        for stem in draws
    }
    jobs = [ScoreJob(*draws[stem], names) for stem, names in wanted.items() if names]
    shared = (office.tasks, office.store, office.settings, references)
    tables = list(before.values())
    for finished in office.have_done("probe sets scored", jobs, Scorer, shared):
        job = finished.job
        key = _student_key(office, job.teacher, job.task, job.seed)
        name = ledger.name(*key, part=" ".join(job.names))
        tables.append(ledger.write(name, finished.value))
    scores = pa.concat_tables(tables)
    asked_for = pc.is_in(scores["ranker"], pa.array(office.settings.rankers))
    return scores.filter(asked_for)


def _probe(office: Office, teachers: Sequence[Interviewed]) -> pa.Table:
    """Linear probes of every teacher on every task."""
    jobs = [ProbeJob(teacher, task) for teacher in teachers for task in range(len(office.tasks))]
    return _truth(office, "probes", jobs, Prober, (office.tasks, office.store))


def _teach(office: Office, teachers: Sequence[Interviewed]) -> pa.Table:
    """Students of every teacher on every draw of the tasks that have students."""
    chosen = office.settings.student_tasks
    jobs = [
        StudentJob(teacher, task, seed)
        for task, seed in office.draws
        if office.tasks[task].name in chosen
        for teacher in teachers
    ]
    shared = (office.tasks, office.store, office.settings)
    return _truth(office, "students", jobs, Tutor, shared)


def _truth(
    office: Office,
    what: str,
    jobs: Sequence[ProbeJob] | Sequence[StudentJob],
    runner: RunnerClass,
    shared: Sequence[Any],
) -> pa.Table:
    """Rows of ``TRUTH``, those of an earlier run among them."""
    ledger = Ledger(office.storage, what, TRUTH)
    names = {
        job: ledger.name(*_student_key(office, job.teacher, job.task, getattr(job, "seed", 0)))
        for job in jobs
    }
    done = ledger.done()
    left = [job for job, name in names.items() if name not in done]
    for finished in office.have_done(what, left, runner, shared):
        rows = finished.value
        ledger.write(names[finished.job], rows if isinstance(rows, list) else [rows])
    return ledger.read(names.values())


def _write(storage: Storage, name: str, content: bytes) -> None:
    """Write one file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        storage.write(name, content)
    except OSError as error:
        raise UserError(f"--out {storage.url} cannot be written: {error}") from error
