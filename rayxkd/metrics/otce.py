"""OTCE: F-OTCE, and what the transport costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.f_otce import couple
from rayxkd.metrics.linalg import one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

DOMAIN_WEIGHT = -1.0
TASK_WEIGHT = -1.0


class OTCE(Metric):
    """Domain difference and task difference by optimal transport, adapted.

        OTCE = -1 W / W_0 - 1 H(Y | K) / H(Y),

    with the transport of :class:`~rayxkd.metrics.f_otce.FOTCE`: H(Y | K) is its conditional
    entropy, W what its plan costs, and W_0 what the independent plan costs. It lies in [-2, 0],
    -2 being what a teacher scores that tells no two images apart.

    As there, the prototypes of a teacher's classes stand for the images that it was trained on:
    this is OUR ADAPTATION and not the published score. W therefore is how far the images lie from
    the teacher's classes in its features, not how far one data set is from another.

    The weights are ours as well. The paper learns them from auxiliary tasks whose accuracy after
    transfer is known, and its code gives none to use without such tasks. Here both terms are
    divided by what knowing nothing gives, and weigh the same.

    Paper: Tan, Li, Huang, "OTCE: A Transferability Metric for Cross-Domain Cross-Task
    Representations", CVPR 2021, https://arxiv.org/abs/2103.13843
    """

    name = "otce"
    title = "OTCE (adapted): relative transport cost and conditional entropy of the label, negated"
    higher_is_better = True
    unit = "share of knowing nothing, from -2 to 0"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        onehot_NM = one_hot(labels_N, num_classes)
        coupling = couple(predictions)
        frequency_M = onehot_NM.mean(dim=0)
        label_entropy = -float(torch.xlogy(frequency_M, frequency_M).sum())
        task_difference = coupling.conditional_entropy(onehot_NM) / label_entropy
        return DOMAIN_WEIGHT * coupling.relative_cost + TASK_WEIGHT * task_difference
