"""LEEP: how likely the labels are under the teacher's expected empirical predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions


class LEEP(Metric):
    """Log expected empirical prediction.

    With p_i the teacher's softmax at temperature 1 and z its classes,

        P(y | z) = sum_i p_i(z) [y_i = y] / sum_i p_i(z)
        LEEP = 1/N sum_i log sum_z P(y_i | z) p_i(z),

    at most 0. The conditional is estimated on the images that it is scored on, as in the paper, so
    a teacher with more classes than there are images scores too well.

    Paper: Nguyen, Hassner, Seeger, Archambeau, "LEEP: A New Measure to Evaluate Transferability of
    Learned Representations", ICML 2020, https://arxiv.org/abs/2002.12462
    """

    name = "leep"
    title = "LEEP: mean log-likelihood of the labels under the expected empirical predictor"
    higher_is_better = True
    unit = "nats, at most 0"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        probs_NK = predictions.probabilities_NK(temperature=1.0)
        # The soft count of images on which teacher class k meets target class m.
        joint_KM = probs_NK.T @ one_hot(labels_N, num_classes)
        # P(m | k). A teacher class without any mass predicts nothing, and is not 0 / 0.
        mass_K1 = joint_KM.sum(dim=1, keepdim=True)
        conditional_KM = torch.where(mass_K1 > 0, joint_KM / mass_K1, 0.0)
        # The expected empirical predictor, and how likely it holds the true labels.
        predicted_NM = probs_NK @ conditional_KM
        likelihood_N = predicted_NM.gather(1, labels_N[:, None]).squeeze(1)
        return float(likelihood_N.log().mean())
