"""Which images a student sees when: decided by the seed and the number of the epoch alone.

So a training that is continued after a crash sees what an undisturbed one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EpochPlan:
    """The batches of every epoch.

    Attributes:
        labelled: how many images have a label; they come first.
        unlabelled: how many have none.
        batch_size: images in a step, over all workers.
        labelled_share: share of labelled images in a batch where there are others.
        epoch_images: least number of images in an epoch.
        seed: of the order.
    """

    labelled: int
    unlabelled: int
    batch_size: int
    labelled_share: float
    epoch_images: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        images = max(self.labelled + self.unlabelled, self.epoch_images)
        return math.ceil(images / self.batch_size)

    def rng(self, epoch: int, purpose: int = 0) -> np.random.Generator:
        """The source of chance of an epoch, a different one for each purpose."""
        return np.random.default_rng([self.seed, epoch, purpose])

    def batches(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Places of the images of each step, int64 [batch_size], the labelled ones first."""
        rng = self.rng(epoch)
        first = self.batch_size
        if self.unlabelled:
            first = max(1, min(self.batch_size - 1, round(self.batch_size * self.labelled_share)))
        labelled = _endless(rng, self.labelled)
        unlabelled = _endless(rng, self.unlabelled)
        for _ in range(self.steps):
            places = [next(labelled) for _ in range(first)]
            places += [self.labelled + next(unlabelled) for _ in range(self.batch_size - first)]
            yield np.array(places, dtype=np.int64)


def _endless(rng: np.random.Generator, count: int) -> Iterator[int]:
    """All numbers below ``count`` in random order, again and again."""
    while True:
        yield from rng.permutation(count).tolist()
