"""What every transferability score has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions


class Metric(ABC):
    """A published score of how well a teacher suits a labelled probe set.

    A metric is a pure function of the teacher's predictions and the labels: it computes in float64,
    on the device of the predictions, and returns a finite number. A teacher that says nothing
    (constant features, say) gets the score of knowing nothing; input from which no score can be
    computed raises ``ValueError``.

    Attributes:
        name: how users and the leaderboard call it.
        title: what it is, in one line.
        higher_is_better: whether a greater score means a better teacher.
        unit: what the number counts, with its range where it has one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str]

    @abstractmethod
    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher on one probe set.

        Args:
            predictions: the teacher's output on N images.
            labels_N: their target classes, int64 in [0, num_classes), on the same device.
            num_classes: M, the number of target classes; some may have no image.

        Raises:
            ValueError: the input is not as :func:`check_inputs` wants it.
        """


def check_inputs(predictions: Predictions, labels_N: Tensor, num_classes: int) -> None:
    """Refuse input for which no transferability score is defined.

    Raises:
        ValueError: labels that are not int64 [N] in [0, num_classes), that all name the same class,
            or predictions that are not finite.
    """
    if labels_N.shape != (predictions.num_images,) or labels_N.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 [{predictions.num_images}], one per image, "
            f"not {labels_N.dtype} {list(labels_N.shape)}"
        )
    if len(torch.unique(labels_N)) < 2:
        raise ValueError("a transferability score needs images of at least two classes")
    if labels_N.min() < 0 or labels_N.max() >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), "
            f"not in [{int(labels_N.min())}, {int(labels_N.max())}]"
        )
    if not predictions.is_finite:
        raise ValueError("the teacher's predictions contain NaN or infinity")
