"""What all teachers of a scan are asked, and the work of asking one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rayxkd.assess.names import NameVectors
from rayxkd.assess.settings import Scoring
from rayxkd.data import ProbeSet
from rayxkd.storage import Storage
from rayxkd.teachers import Forward, Repository, TeacherCard


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

    def part(self, places_P: NDArray[np.int64]) -> Task:
        """The same question about some of the images, with no other metric and no evidence."""
        reference = self.reference_NM
        return replace(
            self,
            probe=self.probe.part(places_P),
            reference_NM=None if reference is None else reference[places_P],
            scoring=replace(self.scoring, metrics=()),
            evidence=None,
        )


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
