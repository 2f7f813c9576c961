"""Reading the images of a task: what is learnt from, what is watched, what only tests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from rayxkd.data import (
    ImageSet,
    open_image_set,
    read_encoded,
)
from rayxkd.data.images import no_labels
from rayxkd.data.probe import check_counts
from rayxkd.distill.material import LabelledImages, joined
from rayxkd.distill.mixtures import mixtures
from rayxkd.distill.settings import DistillSettings
from rayxkd.errors import UserError, some_of
from rayxkd.transport import stratified_folds


@dataclass(frozen=True)
class Task:
    """The images of a task.

    Attributes:
        class_names: the M classes.
        training: labelled images first, then those without label and the mixtures.
        unlabelled: how many images without label the user gave.
        mixtures: how many blends there are.
        validation: held back from the labelled images.
        test: labelled images that nothing is learnt from.
    """

    class_names: tuple[str, ...]
    training: LabelledImages
    unlabelled: int
    mixtures: int
    validation: LabelledImages | None
    test: LabelledImages | None

    @property
    def digest(self) -> str:
        """SHA-256 over classes, labels and the training images, in order."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for part in (self.training, self.validation):
            if part is not None:
                digest.update(part.labels_N.tobytes())
                digest.update("".join(part.images.digests).encode())
        return digest.hexdigest()


def gather_task(settings: DistillSettings) -> Task:
    """Read all images that the settings name.

    Raises:
        UserError: images that are not there or cannot be read, a class without images, a test set
            of other classes.
    """
    images = open_image_set(settings.data)
    everything = read_labelled(images)
    _check_labels(images, everything.labels_N)
    labelled, validation = _split(everything, settings.validation, settings.training.seed)
    training = labelled
    unlabelled = 0
    if settings.unlabelled is not None and settings.needs_teacher:
        more = open_image_set(settings.unlabelled, labelled=False)
        found = read_labelled(more)
        unlabelled = len(found)
        training = joined(training, found)
    blends = settings.mixtures_beside(unlabelled)
    if blends:
        blended = mixtures(labelled.images, blends, settings.training.seed)
        training = joined(training, LabelledImages(blended, no_labels(blends)))
    return Task(
        images.class_names, training, unlabelled, blends, validation, _test(settings, images)
    )


def read_labelled(images: ImageSet) -> LabelledImages:
    """Read all images with their labels; those that cannot be decoded are left out.

    Raises:
        UserError: see :func:`rayxkd.data.read_encoded`.
    """
    encoded, kept = read_encoded(images, np.arange(len(images)))
    return LabelledImages(encoded, images.labels_N[kept])


def _check_labels(images: ImageSet, labels_N: NDArray[np.int64]) -> None:
    if len(images.class_names) < 2:
        raise UserError(f"{images.address} has one class only: a task needs at least two")
    check_counts(images.address, images.class_names, labels_N)


def _split(
    images: LabelledImages, share: float, seed: int
) -> tuple[LabelledImages, LabelledImages | None]:
    """Hold a stratified share back."""
    if share == 0:
        return images, None
    import torch

    # Every image's place in a shuffle sorted by class: with one image a fold.
    place_N = stratified_folds(torch.from_numpy(images.labels_N.copy()), len(images), seed).numpy()
    exact = Fraction(share).limit_denominator(1_000)
    over, under = exact.numerator, exact.denominator
    # Evenly spread: those at which the number of images held back rises, the first one among them.
    held_N = -(-(place_N + 1) * over // under) > -(-place_N * over // under)
    if not held_N.any():
        raise UserError(f"--validation {share:g} of {len(images)} images is none: raise it")
    training = images.rows(np.flatnonzero(~held_N))
    missing = set(np.unique(images.labels_N)) - set(np.unique(training.labels_N))
    if missing:
        raise UserError(
            f"--validation {share:g} leaves {len(missing)} class(es) without images to learn from: "
            "lower it"
        )
    return training, images.rows(np.flatnonzero(held_N))


def _test(settings: DistillSettings, training: ImageSet) -> LabelledImages | None:
    if settings.test is None:
        return None
    images = open_image_set(settings.test)
    unknown = sorted(set(images.class_names) - set(training.class_names))
    if unknown:
        raise UserError(
            f"--test {settings.test} has classes that the labelled images do not have: "
            f"{some_of(unknown)}"
        )
    return read_labelled(images).relabelled(images.class_names, training.class_names)
