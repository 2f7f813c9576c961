"""Regularised H-score: between-class variance relative to shrunk feature covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import left_singular, one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions


class HScore(Metric):
    """H-score with Ledoit-Wolf shrinkage.

        H = tr( cov_a(f)^-1 (1 - a) cov(E[f | y]) ),  cov_a(f) = (1 - a) cov(f) + a sigma I

    with f the features (logits where a teacher has none), sigma the mean of their variances, and a
    the shrinkage that Ledoit and Wolf derive from the data. It lies in [0, M - 1].

    All of it is computed from the singular vectors of the centred features, so that the D x D
    covariance, 4 GB for a teacher of 22k classes, is never formed.

    Papers: Ibrahim, Ponomareva, Mazumder, "Newer is not always better: Rethinking transferability
    metrics, their peculiarities, stability and performance", ECML 2022,
    https://arxiv.org/abs/2110.06893; H-score: Bao et al., ICIP 2019, https://arxiv.org/abs/2212.10082
    """

    name = "h_score"
    title = "H-score: between-class variance relative to Ledoit-Wolf shrunk feature covariance"
    higher_is_better = True
    unit = "variance ratio, from 0 to classes - 1"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        features_ND = predictions.embeddings_ND
        centred_ND = features_ND - features_ND.mean(dim=0)
        left_NR, singular_R = left_singular(centred_ND)
        # Variance of the features along each singular direction; sigma spreads it over all D.
        variance_R = singular_R**2 / len(features_ND)
        sigma = variance_R.sum() / features_ND.shape[1]
        # How much of each direction is between classes: sum_m N_m (mean of u over class m)^2.
        onehot_NM = one_hot(labels_N, num_classes)
        between_RM = (left_NR.T @ onehot_NM) ** 2 / onehot_NM.sum(dim=0).clamp_min(1)
        # The trace, direction by direction.
        shrinkage = ledoit_wolf_shrinkage(centred_ND, variance_R)
        signal_R = (1 - shrinkage) * variance_R
        ratio_R = signal_R / (signal_R + shrinkage * sigma)
        return float((ratio_R * between_RM.sum(dim=1)).sum())


def ledoit_wolf_shrinkage(centred_ND: Tensor, variance_R: Tensor) -> float:
    """How far to shrink the covariance of centred rows towards a multiple of the identity.

    Ledoit and Wolf's estimate in [0, 1], from "A well-conditioned estimator for large-dimensional
    covariance matrices" (2004): the error of the sample covariance over its distance from the
    identity. The covariance S enters only by its eigenvalues.

    Args:
        centred_ND: rows with mean zero, float64 [N, D].
        variance_R: the eigenvalues of S = X'X / N that are not zero.
    """
    num_images, dimension = centred_ND.shape
    # ||S||_F^2, the same of its multiple of the identity, and their distance.
    size = float((variance_R**2).sum())
    spherical = float(variance_R.sum()) ** 2 / dimension
    distance = size - spherical
    # A covariance that is spherical already (one feature, constant features) needs no shrinkage.
    if distance <= 1e-12 * size:
        return 0.0
    # 1/N^2 sum_i || x_i x_i' - S ||_F^2: how far single images are from the mean of them.
    fourth = float((centred_ND**2).sum(dim=1).square().mean())
    error = (fourth - size) / num_images
    return min(error, distance) / distance
