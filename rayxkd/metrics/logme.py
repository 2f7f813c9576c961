"""LogME: the evidence for a Bayesian linear model of the labels on the teacher's features."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import left_singular, one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

# The ratio of precisions, in units of the mean squared singular value, is looked for in
# [1 / WIDEST, WIDEST]. At its ends the prior rules alone, or the fit is exact to float32's noise:
# features that contain a label exactly would have infinite evidence.
WIDEST = 1e10
STARTS = 41  # two per factor of ten
MAX_STEPS = 200
TOLERANCE = 1e-8


class LogME(Metric):
    """Log of the maximum evidence.

    Each class's indicator column y is modelled as F w + noise, with w ~ N(0, 1/alpha) and noise
    ~ N(0, 1/beta); F are the features, or the logits of a teacher that shows none, as they are
    (not centred). The score is

        1/M sum_m max_{alpha, beta} log p(y_m | F, alpha, beta) / N

    over the classes that have images. It does not change with the scale of the features.

    The maximum is found by the paper's fixed point in lambda = alpha / beta. It starts from the
    best point of a coarse grid instead of from alpha = beta = 1, since the evidence may have
    several local maxima, and runs until it stands.

    Papers: You, Liu, Wang, Long, "LogME: Practical Assessment of Pre-trained Models for Transfer
    Learning", ICML 2021, https://arxiv.org/abs/2102.11005; the fixed point in lambda: You et al.,
    "Ranking and Tuning Pre-trained Models", JMLR 2022, https://arxiv.org/abs/2110.10545
    """

    name = "logme"
    title = "LogME: maximum log evidence of a linear model on the features, per image"
    higher_is_better = True
    unit = "nats per image, mean over classes"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        onehot_NM = one_hot(labels_N, num_classes)
        evidence = Evidence(predictions.embeddings_ND, onehot_NM[:, onehot_NM.any(dim=0)])
        # The best of a grid that covers every scale, for all classes at once.
        grid = torch.logspace(-1, 1, STARTS, base=WIDEST, dtype=torch.float64).tolist()
        ratios_GM = torch.stack([torch.full_like(evidence.outside_M, ratio) for ratio in grid])
        values_GM = torch.stack([evidence.log_at(ratio_M) for ratio_M in ratios_GM])
        start_M = ratios_GM.gather(0, values_GM.argmax(dim=0, keepdim=True)).squeeze(0)
        # From there to where the fixed point stands.
        best_M = evidence.log_at(_fixed_point(evidence, start_M))
        return float(best_M.mean() / evidence.num_images)


class Evidence:
    """The evidence of M linear models on the same features, as a function of alpha / beta.

    With F = U diag(s) V', everything follows from s and from how y lies in the columns of U, so one
    decomposition serves all classes and all values of alpha and beta.

    Args:
        features_ND: F, float64.
        targets_NM: the columns y_m, none of them zero.

    Attributes:
        num_images: N.
        spectrum_R: s squared, divided by its mean.
        energy_RM: squared length of y_m along each column of U.
        outside_M: squared length of y_m outside of them, which no w can explain.
    """

    def __init__(self, features_ND: Tensor, targets_NM: Tensor) -> None:
        left_NR, singular_R = left_singular(features_ND)
        self.num_images = len(features_ND)
        self.spectrum_R = singular_R**2 / (singular_R**2).mean()
        self.energy_RM = (left_NR.T @ targets_NM) ** 2
        self.outside_M = (targets_NM**2).sum(dim=0) - self.energy_RM.sum(dim=0)
        self.outside_M.clamp_(min=0)

    def log_at(self, ratio_M: Tensor) -> Tensor:
        """Log evidence [M] at lambda = alpha / beta, with the best beta for that lambda.

        In terms of lambda, beta ||F m - y||^2 + alpha ||m||^2 = beta misfit, so the best beta is
        N / misfit, and the log determinants leave 1/2 sum_r log(1 + s_r^2 / lambda).
        """
        unexplained_RM = ratio_M / (ratio_M + self.spectrum_R[:, None])
        misfit_M = (unexplained_RM * self.energy_RM).sum(dim=0) + self.outside_M
        occam_M = -unexplained_RM.log().sum(dim=0)
        noise_M = self.num_images * (torch.log(2 * math.pi * misfit_M / self.num_images) + 1)
        return -0.5 * (noise_M + occam_M)

    def step(self, ratio_M: Tensor) -> Tensor:
        """One update of lambda [M]: alpha = gamma / ||m||^2, beta = (N - gamma) / ||F m - y||^2."""
        unexplained_RM = ratio_M / (ratio_M + self.spectrum_R[:, None])
        explained_RM = self.spectrum_R[:, None] / (ratio_M + self.spectrum_R[:, None])
        # gamma: how many directions the data determine. N - gamma without cancellation.
        gamma_M = explained_RM.sum(dim=0)
        free_M = unexplained_RM.sum(dim=0) + (self.num_images - len(self.spectrum_R))
        weight_M = (explained_RM**2 / self.spectrum_R[:, None] * self.energy_RM).sum(dim=0)
        residual_M = (unexplained_RM**2 * self.energy_RM).sum(dim=0) + self.outside_M
        # Features that are zero take no weight, which must not become 0 / 0.
        alpha_M = gamma_M / weight_M.clamp_min(torch.finfo(weight_M.dtype).tiny)
        return (alpha_M * residual_M / free_M).clamp(1 / WIDEST, WIDEST)


def _fixed_point(evidence: Evidence, ratio_M: Tensor) -> Tensor:
    """Update every class's lambda until none of them moves."""
    for _ in range(MAX_STEPS):
        previous_M, ratio_M = ratio_M, evidence.step(ratio_M)
        if torch.allclose(ratio_M, previous_M, rtol=TOLERANCE, atol=0):
            break
    return ratio_M
