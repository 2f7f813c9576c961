"""Labelled images as they lie in storage: encoded, listed, and read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class ImageSet(ABC):
    """Labelled images.

    Attributes:
        address: where they come from, as the user gave it.
        class_names: the M classes in the order of their labels.
        labels_N: one label an image, int64, in [0, M).
    """

    address: str
    class_names: tuple[str, ...]
    labels_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels_N)

    @abstractmethod
    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """The encoded images at these places, in this order; ``None`` for one that is missing."""
