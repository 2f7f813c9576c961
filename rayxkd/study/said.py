"""What teachers said, as the jobs of a study read it: the last teacher's words are kept."""

from __future__ import annotations

from dataclasses import dataclass

from rayxkd.data import EncodedImages
from rayxkd.distill.material import as_predictions
from rayxkd.storage import Storage
from rayxkd.teachers import PredictionStore, Said, ViewKey
from rayxkd.transport import Predictions


@dataclass(frozen=True)
class Interviewed:
    """A teacher that has been asked about every image.

    Attributes:
        teacher: its name.
        digest: SHA-256 of card and weights.
        class_names: K names, or none.
        parameters: how many numbers it has.
        own_accuracy: on its own classes, or ``None``.
    """

    teacher: str
    digest: str
    class_names: tuple[str, ...]
    parameters: int
    own_accuracy: float | None

    def __str__(self) -> str:
        return self.teacher


class Words:
    """Reads from a store of predictions."""

    def __init__(self, store: Storage) -> None:
        self._store = store
        self._opened: tuple[str, PredictionStore] | None = None

    def of(self, teacher: Interviewed, images: EncodedImages, views: int = 1) -> Said:
        """What a teacher said of views 0 to ``views`` - 1 of every image, row n V + v."""
        if self._opened is None or self._opened[0] != teacher.digest:
            self._opened = (teacher.digest, PredictionStore(self._store, teacher.digest))
        keys = [ViewKey(digest, view) for digest in images.digests for view in range(views)]
        return self._opened[1].read(keys)

    def predictions(self, teacher: Interviewed, images: EncodedImages) -> Predictions:
        """The same of the images as they are, as costs and metrics want it."""
        return as_predictions(self.of(teacher, images), teacher.class_names)
