"""C[k, m] = -log P(m | k): how seldom target class m is seen where the teacher says k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
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
        everything_1N = torch.ones(1, len(labels_N), dtype=torch.bool)
        return self.fit_each(predictions, labels_N, num_classes, everything_1N)[0]

    def fit_each(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, inside_FN: Tensor
    ) -> tuple[FittedCost, ...]:
        """See :meth:`GroundCost.fit_each`; one product counts for all fits."""
        source_NK = predictions.probabilities_NK(self.temperature)
        inside_FN = inside_FN.to(source_NK)
        target_NM = one_hot_NM(labels_N, num_classes).to(source_NK.device)
        prior_FM = inside_FN @ target_NM / inside_FN.sum(dim=1, keepdim=True)
        target_FMN = inside_FN[:, None] * target_NM.T
        joint_FMK = (target_FMN.flatten(0, 1) @ source_NK).view(*target_FMN.shape[:2], -1)
        joint_FMK += self.shrinkage * prior_FM[..., None]
        row_FK = inside_FN @ source_NK + self.shrinkage
        cost_FKM = (row_FK.log()[:, None] - joint_FMK.log()).transpose(1, 2).contiguous()
        return tuple(FittedCost(cost_KM, self.temperature) for cost_KM in cost_FKM)
