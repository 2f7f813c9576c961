"""Every teacher is asked once about every image of every task; all else reads what it said."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayxkd.data import EncodedImages
from rayxkd.distill.teacher_pass import ask
from rayxkd.fleet.child import Seat
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.study.tasks import StudyTask
from rayxkd.teachers import (
    PredictionStore,
    RejectedCard,
    Repository,
    Teacher,
    TeacherCard,
    TeacherError,
    ViewKey,
    load_teacher,
    open_repositories,
    teacher_digest,
)

# Views in one forward call and one file.
_CHUNK = 1024

TEACHERS = pa.schema(
    [
        ("teacher", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("digest", pa.string()),
        ("class_names", pa.list_(pa.string())),
        ("num_classes", pa.int32()),
        ("parameters", pa.int64()),
        ("own_accuracy", pa.float64()),
        ("views", pa.int64()),
        ("forward_seconds", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Candidate:
    """A teacher of the repository.

    Attributes:
        card: what it is.
        repository: where it lies.
        version: the file system's mark of card and weights.
    """

    card: TeacherCard
    repository: Repository
    version: str

    def __str__(self) -> str:
        return f"teacher '{self.card.teacher}'"


@dataclass(frozen=True)
class Questions:
    """The views that every teacher is asked about.

    Attributes:
        images: the images of all tasks, each once.
        places_R: which image, int64.
        views_R: which fixed view of it, int64.
    """

    images: EncodedImages
    places_R: NDArray[np.int64]
    views_R: NDArray[np.int64]

    def keys(self) -> list[ViewKey]:
        """How the answers are filed."""
        digests = self.images.digests
        return [
            ViewKey(digests[place], int(view))
            for place, view in zip(self.places_R.tolist(), self.views_R.tolist(), strict=True)
        ]


def questions(tasks: Sequence[StudyTask], views: int) -> Questions:
    """All views of the pools' images, and the test images as they are, each once.

    Args:
        tasks: whose images.
        views: V, how many fixed views a student may see of an image.
    """
    contents: dict[str, bytes] = {}
    asked: dict[str, int] = {}
    for task in tasks:
        for part, count in ((task.pool, views), (task.test, 1)):
            for place, digest in enumerate(part.images.digests):
                if digest not in contents:
                    contents[digest] = part.images.encoded(place)
                asked[digest] = max(count, asked.get(digest, 0))
    counts = np.array(list(asked.values()), dtype=np.int64)
    return Questions(
        EncodedImages.of([contents[digest] for digest in asked]),
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.arange(count) for count in counts]),
    )


def candidates(addresses: Sequence[str]) -> tuple[list[Candidate], list[RejectedCard]]:
    """The teachers of all repositories, and the folders that hold none that can be loaded.

    Raises:
        UserError: a repository is not there or cannot be read.
    """
    found, rejected = [], []
    for repository in open_repositories(addresses):
        for card in repository.cards():
            if isinstance(card, RejectedCard):
                rejected.append(card)
                continue
            version = f"{card.card_digest} {card.weights_version}"
            found.append(Candidate(card, repository, version))
    return found, rejected


class Interviewer:
    """Asks teachers and keeps what they say."""

    def __init__(self, seat: Seat, asked: Questions, store: Storage, trust_code: bool) -> None:
        """Prepare to ask; answers go to ``store``."""
        self._device, self._trust_code = seat.device, trust_code
        self._asked, self._store = asked, store
        self._keys = asked.keys()

    def run(self, candidate: Candidate) -> dict[str, Any]:
        """Ask one teacher what it has not been asked; returns its row of ``TEACHERS``."""
        card = candidate.card
        row = {
            "teacher": card.teacher,
            "status": Status.OK,
            "reason": "",
            "class_names": list(card.label_names),
            "num_classes": card.num_classes,
            "own_accuracy": candidate.card.own_accuracy,
        }
        try:
            with candidate.repository.weights(card) as weights:
                digest = teacher_digest(card, weights)
                teacher = load_teacher(card, weights, self._device, trust_code=self._trust_code)
            views, seconds = self._ask(teacher, PredictionStore(self._store, digest))
        except TeacherError as error:
            return row | {"status": error.status, "reason": error.reason}
        return row | {
            "digest": digest,
            "parameters": teacher.parameters,
            "views": views,
            "forward_seconds": seconds,
        }

    def _ask(self, teacher: Teacher, store: PredictionStore) -> tuple[int, float]:
        """How many views went through it, and how long that took."""
        missing = set(store.missing(self._keys))
        rows = np.array([row for row, key in enumerate(self._keys) if key in missing], dtype=int)
        start = time.perf_counter()
        for chunk in np.split(rows, range(_CHUNK, len(rows), _CHUNK)):
            places, views = (
                self._asked.places_R[chunk].tolist(),
                self._asked.views_R[chunk].tolist(),
            )
            if places:
                said = ask(teacher, self._asked.images, places, views)
                store.write([self._keys[row] for row in chunk], said)
        return len(rows), time.perf_counter() - start
