"""What a student is trained on: images, labels, and what the teachers said of them.

Legend: N training images, the labelled ones first; V views of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rayxkd.data import EncodedImages
from rayxkd.distill.objectives import UNLABELLED, Lesson
from rayxkd.teachers import Said
from rayxkd.transport import Predictions


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels, int64 [N]; -1 for an image without."""

    images: EncodedImages
    labels_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def num_labelled(self) -> int:
        """How many have a label; they come first."""
        return int((self.labels_N != UNLABELLED).sum())

    def relabelled(self, class_names: Sequence[str], wanted: Sequence[str]) -> LabelledImages:
        """The same images with labels in the order of other names; -1 where a name is not wanted.

        Args:
            class_names: what the labels are called.
            wanted: what they are to be called.
        """
        place = {name: label for label, name in enumerate(wanted)}
        label_of = np.array([place.get(name, UNLABELLED) for name in class_names])
        return LabelledImages(self.images, label_of[self.labels_N])

    def rows(self, places: NDArray[np.int64]) -> LabelledImages:
        """Some of the images, in the order of ``places``."""
        contents = [self.images.encoded(int(place)) for place in places]
        return LabelledImages(EncodedImages.of(contents), self.labels_N[places])


@dataclass(frozen=True)
class TaughtBy:
    """One teacher of a student.

    Attributes:
        teacher: its name.
        weight: its share of the faculty.
        said: what it said of every training image and view, row n V + v; of the labelled images as
            they are (N labelled rows) where it is asked anew in every step.
        class_names: K names, or none.
    """

    teacher: str
    weight: float
    said: Said
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Material:
    """Everything that training needs, as NumPy arrays that workers share.

    Attributes:
        class_names: the M classes.
        training: labelled images first, then those without label.
        validation: watched while the student trains.
        test: looked at by the report alone.
        views: V.
        faculty: the teachers, strongest first; none for objectives that ask none.
    """

    class_names: tuple[str, ...]
    training: LabelledImages
    validation: LabelledImages | None
    test: LabelledImages | None
    views: int
    faculty: tuple[TaughtBy, ...] = ()

    @property
    def num_classes(self) -> int:
        """M."""
        return len(self.class_names)

    def lessons(self, views: int) -> list[Lesson]:
        """What objectives may learn of each teacher: its word on the labelled images as they are.

        Args:
            views: how many views ``said`` holds of each image.
        """
        count = self.training.num_labelled
        rows = np.arange(count) * views
        labels_N = torch.from_numpy(self.training.labels_N[:count].copy())
        return [
            Lesson(
                taught.teacher,
                taught.weight,
                as_predictions(taught.said.rows(rows), taught.class_names),
                labels_N,
                self.num_classes,
            )
            for taught in self.faculty
        ]


def as_predictions(said: Said, class_names: Sequence[str] = ()) -> Predictions:
    """What was said, as ground costs want it."""
    logits_RK, features_RD = said.tensors()
    names = tuple(class_names) if len(class_names) == logits_RK.shape[1] else None
    return Predictions(logits_RK, features_RD, None, names)


def joined(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """The images of both."""
    shift = int(first.images.ends_N[-1]) if len(first) else 0
    return LabelledImages(
        EncodedImages(
            np.concatenate([first.images.buffer, second.images.buffer]),
            np.concatenate([first.images.ends_N, second.images.ends_N + shift]),
        ),
        np.concatenate([first.labels_N, second.labels_N]),
    )
