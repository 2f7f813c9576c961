"""What every objective is: a term of the loss, computed from what student and teachers say.

Legend: B images of a batch, M target classes, K teacher classes, D features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rayxkd.transport import Predictions
from rayxkd.transport.loss import UNLABELLED


@dataclass(frozen=True)
class StudentSays:
    """Output of the student.

    Attributes:
        logits_BM: its logits.
        features_BD: what goes into its last layer, or ``None``.
    """

    logits_BM: Tensor
    features_BD: Tensor | None


@dataclass(frozen=True)
class TeacherSays:
    """Output of one teacher for the same images, without gradient.

    Attributes:
        logits_BK: float32.
        features_BD: float32, or ``None`` for a teacher that shows none.
    """

    logits_BK: Tensor
    features_BD: Tensor | None

    @classmethod
    def on(cls, device: torch.device, logits_BK: Tensor, features_BD: Tensor | None) -> TeacherSays:
        """The same on a device."""
        return cls(logits_BK.to(device), None if features_BD is None else features_BD.to(device))

    @property
    def embeddings_BD(self) -> Tensor:
        """The features, or the logits of a teacher that shows none."""
        return self.logits_BK if self.features_BD is None else self.features_BD


@dataclass(frozen=True)
class Batch:
    """What is known of the images of a batch.

    Attributes:
        labels_B: int64 in [0, M), or -1 for an image without label.
        teachers: what each teacher says; empty for objectives that ask none.
    """

    labels_B: Tensor
    teachers: tuple[TeacherSays, ...] = ()

    @property
    def labelled_B(self) -> Tensor:
        """Which images have a label, bool."""
        return self.labels_B != UNLABELLED


@dataclass(frozen=True)
class Lesson:
    """What an objective may learn of a teacher before the student is trained.

    Attributes:
        teacher: its name.
        weight: its share of the faculty; shares sum to one.
        predictions: its output on the labelled images.
        labels_N: their labels, int64.
        num_classes: M.
    """

    teacher: str
    weight: float
    predictions: Predictions
    labels_N: Tensor
    num_classes: int


class Objective(nn.Module):
    """A term of the loss; called with (:class:`StudentSays`, :class:`Batch`)."""

    @abstractmethod
    def forward(self, student: StudentSays, batch: Batch) -> Tensor:
        """A scalar, without the objective's weight."""


class FacultyObjective(Objective):
    """The weighted sum of one term a teacher.

    Args:
        lessons: one a teacher.
    """

    def __init__(self, lessons: Sequence[Lesson]) -> None:
        super().__init__()
        self._weights = [lesson.weight for lesson in lessons]

    def forward(self, student: StudentSays, batch: Batch) -> Tensor:
        """See :class:`Objective`."""
        terms = [
            weight * self.term(number, student, teacher)
            for number, (weight, teacher) in enumerate(
                zip(self._weights, batch.teachers, strict=True)
            )
        ]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    @abstractmethod
    def term(self, number: int, /, student: StudentSays, teacher: TeacherSays) -> Tensor:
        """The scalar of the teacher with that number."""
