"""Making an index: every new or changed teacher is asked once about the reference images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import rayxkd
from rayxkd.console import interrupt, literal, on_sigterm, teller
from rayxkd.data import EncodedImages, open_image_set, read_encoded
from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.order import longest_first
from rayxkd.fleet.pool import Finished, Pool
from rayxkd.fleet.progress import CardsProgress, ScanProgress
from rayxkd.fleet.runners import runner_pool
from rayxkd.fleet.sharing import check_shared
from rayxkd.secrets import recordable, without_secrets
from rayxkd.sketches.settings import THUMBNAIL, IndexSettings
from rayxkd.sketches.sketcher import Answer, Reference, Sketcher, SketchJob
from rayxkd.sketches.space import Projection, open_space
from rayxkd.sketches.store import IndexSpace, Key, SketchStore
from rayxkd.storage import Storage
from rayxkd.teachers import (
    Card,
    Forward,
    RejectedCard,
    Repository,
    TeacherCard,
    open_repositories,
)
from rayxkd.teachers.loaders.libraries import modules_of

# Sketches are written when so many are made, or so many seconds have passed.
_APPEND_ROWS, _APPEND_SECONDS = 256, 60.0
Row = dict[str, Any]


@dataclass
class IndexReport:
    """What was done.

    Attributes:
        made: teachers that were asked.
        reused: teachers whose sketch is as it was.
        failed: teachers that cannot be asked.
        left: teachers that were not finished, because of an interrupt.
        interrupted: whether a signal ended it.
        workers: how many actors there were at most.
        seconds: of wall clock for all teachers.
        url: where the index lies.
    """

    made: int = 0
    reused: int = 0
    failed: int = 0
    left: int = 0
    interrupted: bool = False
    workers: int = 0
    seconds: float = 0.0
    url: str = ""


def build_index(settings: IndexSettings, console: Console) -> IndexReport:
    """Sketch the teachers of the repositories that are not in the index yet, or have changed.

    Raises:
        UserError: wrong input, or an index that cannot be written.
    """
    settings.check()
    repositories = open_repositories(settings.repository)
    with Cluster() as cluster:
        if settings.workers != 0:
            places = [("repository", place) for one in repositories for place in one.places]
            check_shared(cluster, places)
        listed = _listed(repositories, console)
        images = read_reference(settings)
        space, places_RD = make_space(settings, images)
        store = SketchStore(Storage.at(settings.out))
        about = {
            "reference": list(settings.reference),
            "reference-size": len(images),
            "seed": settings.seed,
        }
        store.begin(space, recordable(about), fresh=settings.fresh)
        builder = _Builder(space, len(images), store, console)
        jobs = builder.jobs(listed)
        reference = Reference(
            images,
            places_RD,
            space.reference_digest,
            Forward(batch_size=settings.batch_size),
            builder.digests,
            settings.trust_code,
        )
        if jobs:
            builder.run(jobs, _pool(settings, jobs, reference, cluster, console))
    return builder.report


def _listed(
    repositories: Sequence[Repository], console: Console
) -> list[tuple[Repository, list[Card]]]:
    with CardsProgress(console) as progress:
        return [(one, one.cards(progress.tell)) for one in repositories]


def _pool(
    settings: IndexSettings,
    jobs: Sequence[SketchJob],
    reference: Reference,
    cluster: Cluster,
    console: Console,
) -> Pool[SketchJob]:
    limits = settings.limits(max(job.card.weights_bytes for job in jobs))
    return runner_pool(
        len(jobs),
        Sketcher,
        (reference,),
        cluster,
        limits,
        tell=teller(console),
        look_ahead=True,
        modules=modules_of(job.card.library for job in jobs),
    )


def read_reference(settings: IndexSettings) -> EncodedImages:
    """Draw the reference images: from every address an even share, without labels.

    Raises:
        UserError: they cannot be read, or there are fewer than 100.
    """
    contents: list[bytes] = []
    for number, address in enumerate(settings.reference):
        images = open_image_set(address, labelled=False)
        left = settings.reference_size - len(contents)
        share = round(left / (len(settings.reference) - number))
        order = np.random.default_rng([settings.seed, number]).permutation(len(images))
        encoded, _ = read_encoded(images, np.sort(order[:share]))
        contents += [encoded.encoded(place) for place in range(len(encoded))]
    if len(contents) < 100:
        raise UserError(f"--reference holds {len(contents)} images: give 100 or more")
    return EncodedImages.of(contents)


def make_space(
    settings: IndexSettings, images: EncodedImages
) -> tuple[IndexSpace, NDArray[np.float64]]:
    """The common space, and the reference images' places in it.

    Raises:
        UserError: it cannot be opened.
    """
    network = open_space(
        settings.space, batch_size=settings.batch_size, trust_code=settings.trust_code
    )
    features_NF = network.features_NF(images)
    projection = Projection.fitted(features_NF)
    reference = hashlib.sha256("".join(images.digests).encode()).hexdigest()
    named = settings.space == THUMBNAIL
    address = THUMBNAIL if named else Storage.at(settings.space).url
    space = IndexSpace(address, network.digest, reference, projection)
    return space, projection.places_ND(features_NF)


class _Builder:
    """Decides whom to ask, keeps what they said, and counts."""

    def __init__(
        self, space: IndexSpace, images: int, store: SketchStore, console: Console
    ) -> None:
        self.report = IndexReport(url=store.url)
        self._space, self._images, self._console = space, images, console
        self._known = store.read(space)
        self._new = _Pending(store, space)
        versions = self._known.table["weights_version"].to_pylist()
        self._versions: dict[Key, str] = dict(zip(self._known.keys, versions, strict=True))
        digests = self._known.table["teacher_digest"].to_pylist()
        self._row_of = {digest: row for row, digest in enumerate(digests)}

    @property
    def digests(self) -> frozenset[str]:
        """Of the teachers whose sketch is known."""
        return frozenset(self._row_of)

    def jobs(self, listed: Sequence[tuple[Repository, list[Card]]]) -> list[SketchJob]:
        """Teachers that are new or may have changed, the largest first."""
        every = (self._job(repository, card) for repository, cards in listed for card in cards)
        found = [job for job in every if job is not None]
        found.sort(key=lambda job: longest_first(job.card.weights_bytes, job.card.teacher))
        return found

    def _job(self, repository: Repository, card: Card) -> SketchJob | None:
        if isinstance(card, RejectedCard):
            self._failed(card, card.reason)
            return None
        version = card.mark
        if self._versions.get((card.repository, card.teacher)) == version:
            self.report.reused += 1
            return None
        return SketchJob(card, repository, version)

    def run(self, jobs: Sequence[SketchJob], pool: Pool[SketchJob]) -> None:
        """Have the teachers asked; what was made is kept, whatever ends the pass."""
        report, start = self.report, time.monotonic()
        report.left = len(jobs)
        with (
            on_sigterm(interrupt),
            self._new.kept(),
            ScanProgress(len(jobs), self._console, what="sketching") as progress,
        ):
            try:
                for finished in pool.run(jobs, lambda: True):
                    images = self._take(finished)
                    report.left -= 1
                    progress.advance(failed=images is None, images=images or 0, workers=pool.busy)
            except KeyboardInterrupt:
                report.interrupted = True
        report.seconds, report.workers = time.monotonic() - start, pool.peak

    def _take(self, finished: Finished[SketchJob]) -> int | None:
        """Keep what came of a teacher; about how many images it was asked, if it did not fail."""
        job = finished.job
        answer: Answer = finished.value or Answer(reason=finished.reason)
        if answer.reason:
            self._failed(job.card, without_secrets(answer.reason))
            return None
        named = {
            "teacher": job.card.teacher,
            "repository": job.card.repository,
            "weights_version": job.version,
            "made_at": datetime.now(UTC),
        }
        if answer.columns is None:  # the same under another name, or touched
            self.report.reused += 1
            place = self._row_of[answer.digest]
            same: Row = self._known.table.slice(place, 1).to_pylist()[0]
            self._new.add(same | named)
            return 0
        self.report.made += 1
        made = {
            "teacher_digest": answer.digest,
            "space_digest": self._space.digest,
            "rayxkd_version": rayxkd.__version__,
        }
        self._new.add(answer.columns | named | made)
        return self._images

    def _failed(self, card: TeacherCard | RejectedCard, reason: str) -> None:
        self.report.failed += 1
        self._console.print(literal(f"{card.teacher}: {reason}"), soft_wrap=True)


@dataclass
class _Pending:
    """Sketches that are not written yet: many go into one file."""

    store: SketchStore
    space: IndexSpace
    rows: list[Row] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if len(self.rows) == _APPEND_ROWS or time.monotonic() - self.since > _APPEND_SECONDS:
            self.write()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The last of them are written at the end of the block, whatever ends it."""
        try:
            yield
        finally:
            self.write()

    def write(self) -> None:
        if self.rows:
            self.store.append(self.rows, self.space)
        self.rows, self.since = [], time.monotonic()
