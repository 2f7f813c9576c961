"""TransRate: how many bits the features need, less how many they need within classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import centred

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

DISTORTION = 1e-4


class TransRate(Metric):
    """Mutual information of features and labels, by coding rates.

    With Z the centred features (logits where a teacher has none) and Z_m their N_m rows in class
    m, not centred again,

        R(Z) = 1/2 log det( I + Z'Z / (N eps) ),   eps = 1e-4
        TransRate = R(Z) - 1/M sum_m R(Z_m)

    over the classes that have images; 0 for features that tell no two images apart.

    The rate depends on the features' scale. The formula in the paper takes them as they are; here
    Z is divided so that its variance, summed over the features, is 1, which makes teachers
    comparable and is what the authors' code does to the eigenvalues in most of its experiments. Of
    that code this keeps no more: it also varies eps from task to task, divides by the rank, brings
    images to length 1 or projects the features first, and weights classes by size. With as many
    images of each class the weights agree.

    With few images R(Z_m) has few terms and the difference measures above all how many directions
    the features have: trust it only where N_m exceeds the number of features.

    Paper: Huang, Huang, Rong, Yang, Wei, "Frustratingly Easy Transferability Estimation",
    ICML 2022, https://arxiv.org/abs/2106.09362
    """

    name = "transrate"
    title = "TransRate: coding rate of the features less their mean coding rate within classes"
    higher_is_better = True
    unit = "nats"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        centred_ND = centred(predictions.embeddings_ND)
        deviation = (centred_ND.square().sum() / len(labels_N)).sqrt()
        scaled_ND = torch.where(deviation > 0, centred_ND / deviation, 0.0)
        within = [coding_rate(scaled_ND[labels_N == label]) for label in torch.unique(labels_N)]
        return float(coding_rate(scaled_ND) - torch.stack(within).mean())


def coding_rate(rows_ND: Tensor) -> Tensor:
    """Nats for one row at distortion eps, a scalar."""
    num_rows, dimension = rows_ND.shape
    # Z'Z and ZZ' have the same eigenvalues but for zeros: the smaller one will do.
    inner = rows_ND @ rows_ND.T if num_rows < dimension else rows_ND.T @ rows_ND
    identity = torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
    nats: Tensor = 0.5 * torch.logdet(identity + inner / (num_rows * DISTORTION))
    return nats
