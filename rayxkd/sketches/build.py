"""Making an index: every new or changed teacher is asked once about the reference images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

import rayxkd
from rayxkd.console import literal
from rayxkd.data import EncodedImages, open_image_set, read_encoded
from rayxkd.errors import UserError
from rayxkd.secrets import recordable
from rayxkd.sketches.settings import THUMBNAIL, IndexSettings
from rayxkd.sketches.sketch import Sketch, make_sketch
from rayxkd.sketches.space import Projection, open_space
from rayxkd.sketches.store import IndexSpace, Key, Known, SketchStore
from rayxkd.storage import Storage
from rayxkd.teachers import (
    Forward,
    ProbePixels,
    RejectedCard,
    Repository,
    TeacherCard,
    TeacherError,
    load_teacher,
    open_repositories,
    predict,
    teacher_digest,
)

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
        seconds: of wall clock for all teachers.
        url: where the index lies.
    """

    made: int = 0
    reused: int = 0
    failed: int = 0
    seconds: float = 0.0
    url: str = ""


def build_index(settings: IndexSettings, console: Console) -> IndexReport:
    """Sketch the teachers of the repositories that are not in the index yet, or have changed.

    Raises:
        UserError: wrong input, or an index that cannot be written.
    """
    settings.check()
    repositories = open_repositories(settings.repository)
    images = read_reference(settings)
    space, places_RD = make_space(settings, images)
    store = SketchStore(Storage.at(settings.out))
    about = {
        "reference": list(settings.reference),
        "reference-size": len(images),
        "seed": settings.seed,
    }
    store.begin(space, recordable(about), fresh=settings.fresh)
    builder = _Builder(
        settings,
        images=images,
        places_RD=places_RD,
        space=space,
        known=store.read(space),
        console=console,
    )
    start = time.monotonic()
    pending: list[Row] = []
    since = start
    try:
        for row in builder.rows(repositories):
            pending.append(row)
            if len(pending) == _APPEND_ROWS or time.monotonic() - since > _APPEND_SECONDS:
                store.append(pending, space)
                pending, since = [], time.monotonic()
    finally:  # what was made is kept, whatever ends the pass
        if pending:
            store.append(pending, space)
    report = builder.report
    report.seconds, report.url = time.monotonic() - start, store.url
    return report


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
    """Asks teachers, and counts."""

    def __init__(
        self,
        settings: IndexSettings,
        *,
        images: EncodedImages,
        places_RD: NDArray[np.float64],
        space: IndexSpace,
        known: Known,
        console: Console,
    ) -> None:
        self.report = IndexReport()
        self._settings, self._space, self._console = settings, space, console
        self._pixels, self._places_RD = ProbePixels(images), places_RD
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._known = known
        versions = known.table["weights_version"].to_pylist()
        self._versions: dict[Key, str] = dict(zip(known.keys, versions, strict=True))
        digests = known.table["teacher_digest"].to_pylist()
        self._row_of = {digest: row for row, digest in enumerate(digests)}

    def rows(self, repositories: Sequence[Repository]) -> Iterator[Row]:
        """A row for every teacher that is new or has changed."""
        for repository in repositories:
            for card in repository.cards():
                row = self._row(repository, card)
                if row is not None:
                    yield row

    def _row(self, repository: Repository, card: TeacherCard | RejectedCard) -> Row | None:
        if isinstance(card, RejectedCard):
            self._failed(card, card.reason)
            return None
        version = weights_version(card)
        if self._versions.get((card.repository, card.teacher)) == version:
            self.report.reused += 1
            return None
        named = {
            "teacher": card.teacher,
            "repository": card.repository,
            "weights_version": version,
            "made_at": datetime.now(UTC),
        }
        try:
            with repository.weights(card) as weights:
                digest = teacher_digest(card, weights)
                if digest in self._row_of:  # the same under another name, or touched
                    self.report.reused += 1
                    same: Row = self._known.table.slice(self._row_of[digest], 1).to_pylist()[0]
                    return same | named
                teacher = load_teacher(
                    card, weights, self._device, trust_code=self._settings.trust_code
                )
            start = time.perf_counter()
            how = Forward(batch_size=self._settings.batch_size)
            predictions = predict(teacher, self._pixels, how)
            seconds = time.perf_counter() - start
        except TeacherError as error:
            self._failed(card, error.reason)
            return None
        self.report.made += 1
        return {
            **sketch_columns(make_sketch(predictions, self._places_RD)),
            **named,
            "num_classes": card.num_classes,
            "class_names": list(card.label_names),
            "parameters": teacher.parameters,
            "forward_seconds": seconds,
            "teacher_digest": digest,
            "space_digest": self._space.digest,
            "rayxkd_version": rayxkd.__version__,
        }

    def _failed(self, card: TeacherCard | RejectedCard, reason: str) -> None:
        self.report.failed += 1
        self._console.print(literal(f"{card.teacher}: {reason}"), soft_wrap=True)


def sketch_columns(sketch: Sketch) -> Row:
    """A sketch as values of its columns."""
    return {
        "prototypes": sketch.prototypes_PD.reshape(-1),
        "mass": sketch.mass_P,
        "prototype_classes": sketch.classes_P,
        "confidence": sketch.confidence,
        "information": sketch.information,
    }


def weights_version(card: TeacherCard) -> str:
    """A mark that changes with the card or the weights, without reading the weights."""
    return f"{card.card_digest[:16]}:{card.weights_version}"
