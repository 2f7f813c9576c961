"""The target tasks of a study: their images, and which of them a seed draws."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rayxkd.data import open_image_set
from rayxkd.distill.gather import read_labelled
from rayxkd.distill.material import LabelledImages
from rayxkd.errors import UserError, some_of
from rayxkd.study.settings import StudySettings


@dataclass(frozen=True)
class Draw:
    """What one seed draws of a task's images: places in its pool, int64, that share none.

    Attributes:
        labelled_N: the probe set, and what a student learns with labels; sorted.
        unlabelled_U: what a student sees without labels; sorted.
    """

    labelled_N: NDArray[np.int64]
    unlabelled_U: NDArray[np.int64]


@dataclass(frozen=True)
class StudyTask:
    """One target task.

    Attributes:
        name: what the study calls it.
        class_names: the M classes.
        pool: labelled images that probe sets are drawn from.
        test: labelled images that only accuracies look at.
    """

    name: str
    class_names: tuple[str, ...]
    pool: LabelledImages
    test: LabelledImages

    @cached_property
    def digest(self) -> str:
        """SHA-256 over name, classes and images."""
        digest = hashlib.sha256(repr((self.name, self.class_names)).encode())
        for part in (self.pool, self.test):
            digest.update(part.labels_N.tobytes())
            digest.update("".join(part.images.digests).encode())
        return digest.hexdigest()

    def draw(self, labelled: int, unlabelled: int, seed: int) -> Draw:
        """Draw images of every class.

        Args:
            labelled: how many of each class have a label.
            unlabelled: how many of the others, as far as there are so many.
            seed: of the draw.
        """
        order_N = np.random.default_rng([seed, 2]).permutation(len(self.pool))
        labels_N = self.pool.labels_N[order_N]
        groups = [order_N[labels_N == label] for label in range(len(self.class_names))]
        return Draw(
            np.sort(np.concatenate([group[:labelled] for group in groups])),
            np.sort(np.concatenate([group[labelled : labelled + unlabelled] for group in groups])),
        )


def read_tasks(settings: StudySettings) -> list[StudyTask]:
    """Read all images of all tasks.

    Raises:
        UserError: images that are not there or cannot be read, too few of a class, or a test set
            of other classes.
    """
    return [
        _read_task(settings, name, data, test)
        for name, data, test in zip(settings.task_names, settings.data, settings.test, strict=True)
    ]


def _read_task(settings: StudySettings, name: str, data: str, test: str) -> StudyTask:
    images, test_images = open_image_set(data), open_image_set(test)
    class_names, test_names = images.class_names, test_images.class_names
    if set(test_names) != set(class_names):
        raise UserError(
            f"--test {test} has the classes {some_of(test_names)}, --data {data} has "
            f"{some_of(class_names)}: give the same classes"
        )
    pool = read_labelled(images)
    fewest = int(np.bincount(pool.labels_N, minlength=len(class_names)).min())
    if fewest < settings.labelled:
        raise UserError(
            f"--data {data} has a class with {fewest} images: --labelled {settings.labelled} are "
            "to be drawn of each"
        )
    tested = read_labelled(test_images).relabelled(test_names, class_names)
    return StudyTask(name, class_names, pool, tested)
