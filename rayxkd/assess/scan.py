"""The life of a scan: prepare, decide, run, record each teacher at once, and make the table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
from rich.console import Console

from rayxkd.assess.agenda import Agenda, Key, make_agenda
from rayxkd.assess.evidence import pictures_of
from rayxkd.assess.prepare import (
    demo_teachers,
    make_schema,
    make_task,
    read_repositories,
    shorten,
    tell_who_goes_without,
)
from rayxkd.assess.racing.field import Field
from rayxkd.assess.racing.ledger import Ledger, forgetter
from rayxkd.assess.racing.plan import Plan
from rayxkd.assess.racing.race import Account
from rayxkd.assess.racing.scan import Desk, Run, Watch, run_race, told
from rayxkd.assess.recorder import Recorder, disk_errors
from rayxkd.assess.rows import empty_row
from rayxkd.assess.settings import AssessSettings
from rayxkd.assess.task import Job, Task
from rayxkd.assess.worker import Worker
from rayxkd.console import interrupt, on_sigterm, teller
from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.pool import Finished, Pool
from rayxkd.fleet.progress import ScanProgress
from rayxkd.fleet.runners import runner_pool
from rayxkd.fleet.sharing import check_shared
from rayxkd.fleet.telemetry import Telemetry
from rayxkd.leaderboard import Assessment, Journal, Leaderboard
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.leaderboard.schema import with_about
from rayxkd.lease import Lease
from rayxkd.secrets import without_secrets
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers.loaders.libraries import modules_of


@dataclass
class ScanReport:
    """What a scan did.

    Attributes:
        assessed: how many teachers were assessed now, failures included.
        reused: how many rows of an earlier scan still hold.
        left: how many teachers were not finished, for want of budget or because of an interrupt.
        interrupted: whether a signal ended the scan.
        workers: how many actors there were at most.
        seconds: from the first actor's start to the last result.
        race: what a race cost and missed; ``None`` without a budget.
        leaderboard: the finished table.
    """

    assessed: int = 0
    reused: int = 0
    left: int = 0
    interrupted: bool = False
    workers: int = 0
    seconds: float = 0.0
    race: Account | None = None
    leaderboard: Leaderboard = field(default_factory=lambda: Leaderboard("", pa.table({}), {}))

    @property
    def statuses(self) -> Counter[str]:
        """How many rows of the table have each status."""
        return Counter(self.leaderboard.table["status"].to_pylist())

    @property
    def succeeded(self) -> bool:
        """Whether at least one teacher is ``ok``."""
        return self.statuses[Status.OK] > 0


def run_scan(settings: AssessSettings, console: Console) -> ScanReport:
    """See :func:`rayxkd.assess.assess`."""
    settings.check()
    task = make_task(settings)
    journal = Journal(Storage.at(settings.out))

    tell = teller(console)
    with Cluster() as cluster:
        listed = read_repositories(settings, console)
        if settings.workers != 0:
            places = [("repository", place) for one, _ in listed for place in one.places]
            check_shared(cluster, [("out", Storage.at(settings.out)), *places])
        with journal.lease(tell) as lease:
            journal.begin(settings.recorded(), fresh=settings.fresh)
            if any(address.startswith(DEMO_SCHEME) for address in settings.repository):
                listed.append(demo_teachers(Storage.at(settings.out), cluster, console))
            if task.name_vectors is not None:
                tell_who_goes_without(task.name_vectors, listed, console)
            shortlist = shorten(settings, task, listed, tell)
            if shortlist is not None:
                listed = shortlist.listed
            earlier = {(row.repository, row.teacher): row for row in journal.read_parts()}
            schema = make_schema(settings, task, shortlist)
            scan = _Scan(settings, task, journal, lease, earlier=earlier, schema=schema)
            agenda = make_agenda(
                listed, earlier, task, retry_failed=settings.retry_failed, raced=scan.was_raced
            )
            return scan.run(agenda, cluster, console)


class _Scan:
    """Runs an agenda and keeps the journal."""

    def __init__(
        self,
        settings: AssessSettings,
        task: Task,
        journal: Journal,
        lease: Lease,
        *,
        earlier: dict[Key, Assessment],
        schema: pa.Schema,
    ) -> None:
        self._settings = settings
        self._task = task
        self._journal = journal
        self._lease = lease
        self._earlier = earlier
        self._recorder = Recorder(journal, schema)
        self._budget = settings.race_budget
        self._ledger: Ledger | None = None
        if self._budget is not None:
            self._ledger = Ledger(Storage.at(settings.out), task, schema)

    def was_raced(self, job: Job, row: Assessment) -> bool:
        """Whether a teacher with a row that holds takes part in the race all the same."""
        return self._ledger is not None and (self._ledger.knows(job) or not row.is_ok)

    def run(self, agenda: Agenda, cluster: Cluster, console: Console) -> ScanReport:
        report = ScanReport(reused=len(agenda.holding))
        self._recorder.rows += agenda.holding
        if self._task.evidence is not None:
            self._keep_pictures(EvidenceStore(self._task.evidence))
        with self._recorder:
            for row in agenda.rejected:
                self._record(row)
            if agenda.jobs and self._ledger is not None:
                self._race(agenda, self._ledger, report, cluster, console)
            elif agenda.jobs:
                self._run_jobs(agenda.jobs, report, cluster, console)
            table = self._recorder.table()
        report.leaderboard = Leaderboard.of(self._journal.url, table)
        return report

    def _run_jobs(
        self, jobs: Sequence[Job], report: ScanReport, cluster: Cluster, console: Console
    ) -> None:
        """Have the jobs done, in order, and record each result as it comes."""
        settings = self._settings
        report.left = len(jobs)
        pool = self._make_pool(jobs, cluster, console)
        tell = Telemetry(self._journal.url).tell if settings.workers != 0 else None
        with on_sigterm(interrupt), ScanProgress(len(jobs), console, tell) as progress:
            start = time.monotonic()
            try:
                for result in pool.run(jobs, lambda: True):
                    row = self._row_of(result)
                    unchanged = result.value is None and not result.failure
                    self._record(row)
                    report.left -= 1
                    report.reused += unchanged
                    report.assessed += not unchanged
                    progress.advance(
                        failed=not row.is_ok, images=row.images_seen, workers=pool.busy
                    )
            except KeyboardInterrupt:
                report.interrupted = True
            report.seconds = time.monotonic() - start
            report.workers = pool.peak

    def _race(
        self, agenda: Agenda, ledger: Ledger, report: ScanReport, cluster: Cluster, console: Console
    ) -> None:
        """Race the teachers against one another; see :mod:`rayxkd.assess.racing`."""
        settings, probe, budget = self._settings, self._task.probe, self._budget
        assert budget is not None
        teachers = len(agenda.jobs)
        plan = Plan.of(
            teachers,
            len(probe),
            probe.num_classes,
            budget.images_of(teachers * len(probe)),
            settings.keep,
        )
        field, run = Field(plan, agenda.jobs, agenda.known, ledger), Run()
        start = time.monotonic()
        try:
            with on_sigterm(interrupt), disk_errors(self._journal):
                run_race(field, self._desk(cluster, console), Watch(budget), run)
        except KeyboardInterrupt:
            report.interrupted = True
        report.assessed, report.left, report.workers = run.assessed, run.left, run.workers
        report.reused += run.reused
        report.seconds = time.monotonic() - start
        report.race = field.race.account
        seconds = report.seconds + _seconds_before(settings.out)
        self._recorder.schema = with_about(self._recorder.schema, race=told(report.race, seconds))

    def _desk(self, cluster: Cluster, console: Console) -> Desk:
        settings = self._settings
        tell = Telemetry(self._journal.url).tell if settings.workers != 0 else None
        store = None if settings.keep_predictions else self._task.predictions
        return Desk(
            make_pool=lambda jobs: self._make_pool(jobs, cluster, console),
            row_of=self._row_of,
            record=self._record,
            hold=self._recorder.rows.append,
            progress=lambda total: ScanProgress(total, console, tell),
            forget=(lambda _: None) if store is None else forgetter(store),
        )

    def _make_pool(self, jobs: Sequence[Job], cluster: Cluster, console: Console) -> Pool[Job]:
        """Actors on the cluster; without workers, this process."""
        limits = self._settings.limits(max(job.card.weights_bytes for job in jobs))
        return runner_pool(
            len(jobs),
            Worker,
            (self._task,),
            cluster,
            limits,
            tell=teller(console),
            look_ahead=True,
            modules=modules_of(job.card.library for job in jobs),
        )

    def _row_of(self, result: Finished[Job]) -> Assessment:
        job = result.job
        if result.failure:
            return replace(
                empty_row(self._task, job.card),
                status=Status(result.failure),
                reason=without_secrets(result.reason),
                attempts=result.attempts,
                weights_version=job.version,
            )
        if result.value is None:  # unchanged: the earlier row holds
            known = self._earlier[job.card.repository, job.card.teacher]
            return replace(known, weights_version=job.version)
        row: Assessment = result.value
        return replace(row, attempts=result.attempts)

    def _keep_pictures(self, store: EvidenceStore) -> None:
        """The probe images, unless an earlier run kept them."""
        known = store.read_pictures()
        if known is None or known.probe_digest != self._task.probe_digest:
            with disk_errors(self._journal):
                store.write_pictures(pictures_of(self._task.probe))

    def _record(self, row: Assessment) -> None:
        self._lease.check()
        self._recorder.record(row)


def _seconds_before(out: str) -> float:
    """How long earlier runs of a race took."""
    try:
        return float(Leaderboard.open(out).about["race"]["seconds"])
    except (UserError, LookupError, TypeError, ValueError):
        return 0.0
