"""What is done with one teacher: load, predict, score. No Ray: any script can call it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

import rayxkd
from rayxkd.assess.evidence import Judged, evidence_of, shown_images
from rayxkd.assess.names import NameVectors, all_known
from rayxkd.assess.settings import Scoring
from rayxkd.cache import LocalCache
from rayxkd.data import ClassVectors, ProbeSet
from rayxkd.leaderboard import Assessment
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.metrics import metric_named
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers import (
    Forward,
    PredictionStore,
    ProbePixels,
    RejectedCard,
    Repository,
    Said,
    Teacher,
    TeacherCard,
    TeacherError,
    ViewKey,
    as_predictions,
    load_teacher,
    predict,
    teacher_digest,
)
from rayxkd.teachers.errors import memory_refused
from rayxkd.transport import (
    CooccurrenceCost,
    FeatureCost,
    GroundCost,
    LearnedCost,
    Predictions,
    ground_cost,
    score_transport,
    stratified_folds,
)
from rayxkd.transport.costs import SemanticCost
from rayxkd.transport.costs.base import one_hot_NM

T = TypeVar("T")
# Kinds of pixels that are mapped at a time: a name each, their memory is the kernel's to take back.
_KINDS = 8


@dataclass(frozen=True)
class Task:
    """What all teachers of a scan are asked.

    Attributes:
        probe: the labelled images.
        reference_NM: the student's probabilities on them, float64; ``None`` for the labels.
        name_vectors: what the learned cost shrinks towards; ``None`` for co-occurrence.
        scoring: how a teacher is scored.
        forward: how it is run.
        probe_digest: of the probe set.
        config_digest: of scoring, reference and vectors.
        trust_code: load formats that can run code.
        predictions: where predictions are kept and looked for; ``None`` keeps none.
        evidence: where it is kept what explains a rank; ``None`` keeps nothing.
    """

    probe: ProbeSet
    reference_NM: NDArray[np.float64] | None
    name_vectors: NameVectors | None
    scoring: Scoring
    forward: Forward
    probe_digest: str
    config_digest: str
    trust_code: bool = False
    predictions: Storage | None = None
    evidence: Storage | None = None


@dataclass(frozen=True)
class Job:
    """One teacher to assess.

    Attributes:
        card: the teacher.
        repository: where it lies.
        version: the file system's mark of card and weights.
        known_digest: the digest of an earlier assessment that holds if the teacher's is the same.
        images: judge it on so many images, first in the race's order; ``None`` assesses it on all.
    """

    card: TeacherCard
    repository: Repository
    version: str
    known_digest: str | None = None
    images: int | None = None


class _UnchangedError(Exception):
    """The teacher is, byte for byte, the one that was assessed before."""


class Assessor:
    """Assesses teachers one after another; keeps what they share."""

    def __init__(self, task: Task, device: torch.device, memory_bound: str = "") -> None:
        """Prepare what teachers share.

        Args:
            task: what they are asked.
            device: where they run.
            memory_bound: what this process may take, in words; empty where there is no bound.
        """
        self._task = task
        self._device = device
        self._memory_bound = memory_bound
        self._pixels = ProbePixels(
            task.probe, _KINDS, LocalCache.of_user("pixels"), task.probe_digest
        )
        self._weights = LocalCache.of_user("weights")
        self._labels_N = torch.from_numpy(np.array(task.probe.labels_N))
        self._shown_P = torch.from_numpy(shown_images(task.probe.labels_N))
        if task.reference_NM is None:
            self._reference_NM = one_hot_NM(self._labels_N, task.probe.num_classes)
        else:
            self._reference_NM = torch.from_numpy(np.array(task.reference_NM))
        vectors = task.name_vectors
        self._vectors: ClassVectors = {} if vectors is None else vectors.by_name()
        self._fold_N = stratified_folds(
            self._labels_N, min(task.scoring.folds, len(task.probe)), task.scoring.seed
        )

    def assess(self, job: Job) -> Assessment | None:
        """Assess one teacher.

        Returns:
            Its row, with status and reason where it fails; ``None`` if it is unchanged.
        """
        card = job.card
        row = replace(
            empty_row(self._task, card),
            num_classes=card.num_classes,
            num_features=card.num_features,
            license=card.license,
            weights_version=job.version,
            device=_device_name(self._device),
        )
        try:
            row = self._assess(job, row)
        except _UnchangedError:
            return None
        except TeacherError as error:
            row = replace(row, status=error.status, reason=error.reason)
        except (MemoryError, RuntimeError) as error:
            if not memory_refused(error):
                raise
            row = replace(row, status=Status.OUT_OF_MEMORY, reason=memory_refused(error))
        if row.status is Status.OUT_OF_MEMORY and self._memory_bound:
            bound = f"a worker may take {self._memory_bound} (--memory-per-worker)"
            row = replace(row, reason=f"{row.reason}; {bound}")
        return replace(row, finished_at=datetime.now(UTC))

    def prepare(self, job: Job) -> None:
        """Have at hand what a teacher needs, while another is at work; nothing is loaded.

        Its weights are copied from where they lie, and the probe set is decoded for it. What goes
        wrong here goes wrong again when it is assessed, and is told then.
        """
        with suppress(TeacherError, OSError), self._local_weights(job):
            self._pixels.prepare(job.card.preprocessing)

    def _local_weights(self, job: Job) -> AbstractContextManager[Path]:
        return job.repository.weights(job.card, self._weights, job.version)

    def _assess(self, job: Job, row: Assessment) -> Assessment:
        row, predictions = self._ask(job, row)
        clock = _Clock()
        with clock.measure("transport"):
            row, judged = self._score_transport(predictions, row)
        with clock.measure("metrics"):
            metrics = {
                name: metric_named(name).fit(
                    predictions, self._labels_N, self._task.probe.num_classes
                )
                for name in self._task.scoring.metrics
            }
        self._keep_evidence(row, judged)
        return replace(
            row,
            status=Status.OK,
            metrics=metrics,
            transport_seconds=clock.seconds["transport"],
            metric_seconds=clock.seconds["metrics"],
        )

    def _ask(self, job: Job, row: Assessment) -> tuple[Assessment, Predictions]:
        """Load the teacher and ask it about the probe set."""
        clock = _Clock()
        with self._local_weights(job) as weights:
            with clock.measure("load"):
                digest = teacher_digest(job.card, weights)
                if digest == job.known_digest:
                    raise _UnchangedError
                teacher = load_teacher(
                    job.card, weights, self._device, trust_code=self._task.trust_code
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

    def _predictions(self, teacher: Teacher, digest: str) -> tuple[Predictions, int]:
        """What the teacher says of the probe set, and about how many images it was asked now.

        Where predictions are kept, it is asked once.
        """
        if self._task.predictions is None:
            return predict(teacher, self._pixels, self._task.forward), len(self._pixels)
        store = PredictionStore(self._task.predictions, digest)
        keys = [ViewKey(image, 0) for image in self._task.probe.digests]
        missing = set(store.missing(keys))
        if missing:
            places = np.flatnonzero([key in missing for key in keys])
            said = predict(teacher, self._pixels_of(places), self._task.forward)
            store.write([keys[place] for place in places], Said.of(said))
            if len(places) == len(keys):
                return said, len(keys)
        return as_predictions(teacher, *store.read(keys).tensors()), len(missing)

    def _pixels_of(self, places: NDArray[np.int64]) -> ProbePixels:
        return self._pixels if len(places) == len(self._pixels) else self._pixels.part(places)

    def _score_transport(
        self, predictions: Predictions, row: Assessment
    ) -> tuple[Assessment, Judged]:
        scoring, probe = self._task.scoring, self._task.probe
        cost, prior = self._ground_cost(predictions)
        fitted = cost.cross_fit(predictions, self._labels_N, probe.num_classes, self._fold_N)
        keep_map = self._task.evidence is not None and self._task.reference_NM is not None
        score = score_transport(predictions, self._reference_NM, fitted, keep_map=keep_map)
        if not score.converged:
            raise TeacherError(Status.INVALID, "its transport problems did not converge")
        low, high = score.interval(seed=scoring.seed)
        row = replace(
            row,
            transport_cost=score.cost,
            transport_cost_low=low,
            transport_cost_high=high,
            relative_cost=score.relative_cost,
            temperature=fitted.costs[0].temperature,
            cost_prior=prior,
        )
        return row, Judged(predictions, fitted, score)

    def _keep_evidence(self, row: Assessment, judged: Judged) -> None:
        """Written before the row is known: whoever reads the row finds it."""
        if self._task.evidence is None:
            return
        evidence = evidence_of(row, judged, self._labels_N, self._shown_P)
        # Without it the rank stands, but is not explained: no reason to lose the row.
        with suppress(OSError):
            EvidenceStore(self._task.evidence).write(evidence)

    def _ground_cost(self, predictions: Predictions) -> tuple[GroundCost, str | None]:
        """The ground cost for one teacher, and what it shrinks towards, if it does."""
        cost = ground_cost(self._task.scoring.cost, self._task.scoring.temperature)
        if isinstance(cost, FeatureCost):
            return cost, CooccurrenceCost.name
        if not isinstance(cost, LearnedCost):
            return cost, None
        if not all_known(predictions.class_names or (), self._vectors):
            return cost, CooccurrenceCost.name
        semantic = SemanticCost(self._task.probe.class_names, self._vectors)
        return replace(cost, towards=semantic), semantic.name


def empty_row(task: Task, card: TeacherCard | RejectedCard) -> Assessment:
    """A row that says only whose it is; its status is to be set."""
    return Assessment(
        teacher=card.teacher,
        repository=card.repository,
        status=Status.INVALID,
        teacher_digest="",
        probe_digest=task.probe_digest,
        config_digest=task.config_digest,
        rayxkd_version=rayxkd.__version__,
        finished_at=datetime.now(UTC),
        weights_bytes=card.weights_bytes,
    )


class _Clock:
    """Wall-clock seconds by name."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self._now() - start


def _width(predictions: Predictions) -> int | None:
    return None if predictions.features_ND is None else predictions.features_ND.shape[1]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
