"""C[k, m] = -log P(m | k): how seldom target class m is seen where the teacher says k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rayxkd.transport.costs.base import FittedCost, GroundCost, one_hot_NM
from rayxkd.transport.predictions import Predictions


@dataclass(frozen=True)
class CooccurrenceCost(GroundCost):
    """-log P(m | k) from the soft joint sum_i p_ik [y_i = m], shrunk to the class prior (ours).

    P(m | k) = (joint_km + shrinkage * prior_m) / (sum_i p_ik + shrinkage). With epsilon = 1 the
    entropic map with free target marginal, p_ik exp(-C[k, m]), is LEEP's expected empirical
    predictor (Nguyen et al. 2020, https://arxiv.org/abs/2002.12462), here with shrinkage.

    Assumes that the probe set's class frequencies are those of the task. Fails where the teacher's
    mass is nearly uniform (high temperature, many classes): every row tends to the prior then.

    Attributes:
        temperature: temperature of the teacher's softmax.
        shrinkage: weight of the class prior in a row of P, in images.
    """

    name: ClassVar[str] = "cooccurrence"
    unit: ClassVar[str] = "nats"
    temperature: float = 1.0
    shrinkage: float = 1.0

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """See :meth:`GroundCost.fit`; entries are in nats and not negative."""
        source_NK = predictions.probabilities_NK(self.temperature)
        cost_KM = cooccurrence_KM(source_NK, labels_N, num_classes, self.shrinkage)
        return FittedCost(cost_KM, self.temperature)


def cooccurrence_KM(
    source_NK: Tensor, labels_N: Tensor, num_classes: int, shrinkage: float
) -> Tensor:
    """The cost matrix for mass ``source_NK`` (rows sum to one) and its labels."""
    target_NM = one_hot_NM(labels_N, num_classes).to(source_NK.device)
    prior_M = target_NM.mean(dim=0)
    joint_KM = source_NK.T @ target_NM + shrinkage * prior_M
    row_K = source_NK.sum(dim=0) + shrinkage
    return row_K.log()[:, None] - joint_KM.log()
