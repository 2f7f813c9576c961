"""What a learned cost shrinks towards: any ground cost, brought to nats.

Legend: N images, K teacher classes, M target classes, F fits on some of the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.costs.base import FittedCost


@dataclass(frozen=True)
class Prior:
    """C0 = scale * cost + 1 bias', one for each of F fits.

    Attributes:
        cost_FKM: the cost, float64.
        bias_FM: what is added to each column, in nats.
    """

    cost_FKM: Tensor
    bias_FM: Tensor

    @classmethod
    def in_nats(cls, fitted: tuple[FittedCost, ...]) -> Prior:
        """Costs that are in nats already: taken as they are, at scale 1."""
        cost_FKM = torch.stack([cost.cost_KM for cost in fitted])
        return cls(cost_FKM, cost_FKM.new_zeros(cost_FKM.shape[0], cost_FKM.shape[2]))

    @classmethod
    def in_unknown_units(
        cls, fitted: tuple[FittedCost, ...], source_NK: Tensor, target_NM: Tensor, inside_FN: Tensor
    ) -> Prior:
        """Costs of which only the differences between images are believed, up to a scale (ours).

        With mean = mean_i p_i over all images (no label enters it), each cost is centred over its
        rows' targets and by 1 mean' C, so that the mean image prefers no target, and divided by
        the root mean square over images and targets of (p_i - mean)' C: scale 1 lets scores vary
        by one nat. The bias is -log of the class shares among the images of the fit, with one more
        image that is spread evenly, so that the mean image is given the class prior. A cost that
        tells no images apart becomes zero.
        """
        mean_K = source_NK.mean(dim=0)
        given_FKM = torch.stack([cost.cost_KM for cost in fitted])
        cost_FKM = given_FKM - given_FKM.mean(dim=2, keepdim=True)
        cost_FKM = cost_FKM - (mean_K @ cost_FKM)[:, None]
        spread_F = (source_NK @ cost_FKM).square().mean(dim=(1, 2)).sqrt()
        # Below this it is rounding.
        known_F = spread_F > 1e-12 * given_FKM.abs().amax(dim=(1, 2))
        unit_F = torch.where(known_F, 1 / spread_F, 0.0)
        count_FM = inside_FN.double() @ target_NM + 1 / target_NM.shape[1]
        share_FM = count_FM / count_FM.sum(dim=1, keepdim=True)
        return cls(unit_F[:, None, None] * cost_FKM, -share_FM.log())

    def scaled_FKM(self, scale: float) -> Tensor:
        """C0 of every fit at one scale."""
        return scale * self.cost_FKM + self.bias_FM[:, None]
