"""GBC: how much the classes overlap in feature space, if each is a Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import one_hot, principal_components

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

DIMENSIONS = 64
FLOOR = 1e-4  # no class has less variance, in units of the mean variance of all images


class GBC(Metric):
    """Gaussian Bhattacharyya coefficient.

    The features (logits where a teacher has none) are reduced to their first 64 principal
    components, R if there are fewer. There each class is a spherical Gaussian of mean mu_m and
    variance s_m, the mean of its variances along the components. The coefficient of two classes is
    exp(-D), and

        D_mn = |mu_m - mu_n|^2 / (8 s) + R/2 log( s / sqrt(s_m s_n) ),   s = (s_m + s_n) / 2
        GBC = - sum_(m != n) exp(-D_mn)

    over the classes that have images; each pair counts twice, as in the paper. Spherical is the
    paper's choice for classification. 0 if no two classes overlap, and -M (M - 1) if they are all
    the same.

    Ours: the least variance of a class is 1e-4 of the mean variance of all images, where the
    authors' code has 1e-4, so that the scale of the features does not matter; and the logarithm
    has the R that follows from the determinants of the Gaussians and that their code leaves out.

    Paper: Pándy, Agostinelli, Uijlings, Ferrari, Mensink, "Transferability Estimation using
    Bhattacharyya Class Separability", CVPR 2022, https://arxiv.org/abs/2111.12780
    """

    name = "gbc"
    title = "GBC: Bhattacharyya overlap of the classes as spherical Gaussians, negated"
    higher_is_better = True
    unit = "overlap, from -classes (classes - 1) to 0"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        rows_NR = principal_components(predictions.embeddings_ND)[:, :DIMENSIONS]
        onehot_NM = one_hot(labels_N, num_classes)
        onehot_NM = onehot_NM[:, onehot_NM.any(dim=0)]
        overlap_MM = torch.exp(-bhattacharyya_distance(*class_gaussians(rows_NR, onehot_NM)))
        return 0.0 - float(overlap_MM.fill_diagonal_(0).sum())


def class_gaussians(rows_NR: Tensor, onehot_NM: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [M, R] and variance [M] of each class as a spherical Gaussian."""
    share_NM = onehot_NM / onehot_NM.sum(dim=0)
    mean_MR = share_NM.T @ rows_NR
    deviation_NR = rows_NR - onehot_NM @ mean_MR
    # Rows without a coordinate have no variance: any will do for Gaussians that are all the same.
    if rows_NR.shape[1] == 0:
        return mean_MR, torch.ones_like(share_NM[0])
    variance_M = share_NM.T @ deviation_NR.square().mean(dim=1)
    return mean_MR, variance_M.clamp_min(FLOOR * rows_NR.square().mean())


def bhattacharyya_distance(mean_MR: Tensor, variance_M: Tensor) -> Tensor:
    """Distance of each pair of spherical Gaussians [M, M]."""
    average_MM = (variance_M[:, None] + variance_M) / 2
    log_M = variance_M.log()
    of_means_MM = torch.cdist(mean_MR, mean_MR).square() / (8 * average_MM)
    of_spreads_MM = average_MM.log() - (log_M[:, None] + log_M) / 2
    return of_means_MM + mean_MR.shape[1] / 2 * of_spreads_MM
