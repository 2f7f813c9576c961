"""Images as they lie in storage: encoded, listed, and read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Labels(Enum):
    """What becomes of the labels when images are opened."""

    NEEDED = "needed"
    IF_ANY = "if any"
    IGNORED = "ignored"

    def are_read(self, present: bool) -> bool:
        """Whether to read labels that are there (or to miss them if they are not)."""
        return self is Labels.NEEDED or (self is Labels.IF_ANY and present)


class ImageSet(ABC):
    """Images, with labels or without.

    Attributes:
        address: where they come from, as the user gave it but without secrets.
        class_names: the M classes in the order of their labels; () where there are no labels.
        labels_N: one label an image, int64, in [0, M); all -1 where there are no labels.
    """

    address: str
    class_names: tuple[str, ...]
    labels_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels_N)

    @abstractmethod
    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """The encoded images at these places, in this order; ``None`` for one that is missing."""


def no_labels(count: int) -> NDArray[np.int64]:
    """The labels of images that have none: int64 [N], all -1."""
    return np.full(count, -1, dtype=np.int64)
