"""The learned cost from the channels of a teacher's features instead of its classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from rayxkd.transport.costs.base import CrossFittedCost, FeatureScale, FittedCost, GroundCost
from rayxkd.transport.costs.learned import LearnedCost
from rayxkd.transport.predictions import Predictions

_LEARNED = LearnedCost()


@dataclass(frozen=True)
class FeatureCost(GroundCost):
    """Inverse optimal transport from features (ours).

    Mass lies on the D channels of the features: p_i = softmax((phi_i - mean) / (spread t)), with
    the mean over images and one spread for all channels. The cost of moving it from channel to
    target class is :class:`LearnedCost`'s, with its temperature t, ridge and score.

    Features hold more of an image than the K probabilities that a teacher makes of them, the more
    so the fewer classes it has. So this says what a new head on the teacher could learn, while the
    cost from its classes says what its predictions can teach.

    Assumes that features are of one kind, so that one scale serves all channels. For a teacher that
    shows no features its logits are taken.

    Attributes:
        learned: fits the cost.
    """

    name: ClassVar[str] = "features"
    unit: ClassVar[str] = "nats"
    learned: LearnedCost = _LEARNED

    def at_temperature(self, temperature: float) -> Self:
        """See :meth:`GroundCost.at_temperature`; no other temperature is tried."""
        return replace(self, learned=self.learned.at_temperature(temperature))

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """See :meth:`GroundCost.fit` and :meth:`LearnedCost.fit`."""
        scale = FeatureScale.of(predictions)
        fitted = self.learned.fit(scale.applied(predictions), labels_N, num_classes)
        return replace(fitted, features=scale)

    def cross_fit(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, fold_N: Tensor
    ) -> CrossFittedCost:
        """See :meth:`GroundCost.cross_fit`; the scale is that of all images."""
        scale = FeatureScale.of(predictions)
        fitted = self.learned.cross_fit(scale.applied(predictions), labels_N, num_classes, fold_N)
        return replace(fitted, costs=tuple(replace(cost, features=scale) for cost in fitted.costs))
