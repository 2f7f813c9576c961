"""C = sum_j w_j C_j / spread_j: several ground costs in one, each at its own share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rayxkd.errors import UserError
from rayxkd.transport.costs.base import CrossFittedCost, FittedCost, GroundCost
from rayxkd.transport.predictions import Predictions


@dataclass(frozen=True)
class MixedCost(GroundCost):
    """A convex mix of ground costs, each first divided by the spread of its rows (ours).

    C = sum_j w_j C_j / spread_j, where spread_j is the root mean square of
    C_j[k, m] - mean_m C_j[k, m] over all k and m. A constant added to a row of C adds the same to
    every plan that moves a given source, so plans answer to differences within rows alone: with
    these at one scale, a weight is a part's share in what decides the plan, whatever its unit. A
    part whose rows are constant stays unscaled. Row means are kept (divided by the spread), so a
    mix of costs that are not negative is not negative; they are part of the transport cost.

    All parts see the teacher at the one temperature of the mix.

    Assumes that all teacher classes matter alike: a row that gets no mass counts for the spread
    like any other. Fails as the comparison of teachers of different K: each teacher's cost is
    scaled by its own spread. A ``learned`` part is no likelihood any more, and scores are not
    normalised.

    Attributes:
        parts: the costs.
        weights: one a part, not negative, with sum one.
        temperature: temperature of the teacher's softmax, for all parts.

    Raises:
        UserError: weights that are no convex combination of the parts.
    """

    name: ClassVar[str] = "mixed"
    unit: ClassVar[str] = "mixed (spread of a row = 1)"
    parts: Sequence[GroundCost]
    weights: Sequence[float]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        if not self.parts or len(self.weights) != len(self.parts):
            raise UserError(
                f"a mixed cost needs one weight a part, and a part at least: "
                f"{len(self.weights)} weights for {len(self.parts)} parts"
            )
        # `not all(w >= 0)` also catches NaN.
        if not all(weight >= 0 for weight in self.weights):
            raise UserError(f"weights of a mixed cost must not be negative: {self.weights}")
        if not math.isclose(sum(self.weights), 1.0, abs_tol=1e-6):
            raise UserError(
                f"weights of a mixed cost must sum to one, not {sum(self.weights):g}: "
                "divide each by their sum"
            )

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """See :meth:`GroundCost.fit`."""
        return self._mix(part.fit(predictions, labels_N, num_classes) for part in self._parts)

    def fit_each(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, inside_FN: Tensor
    ) -> tuple[FittedCost, ...]:
        """See :meth:`GroundCost.fit_each`."""
        fits = [
            part.fit_each(predictions, labels_N, num_classes, inside_FN) for part in self._parts
        ]
        return tuple(self._mix(fitted) for fitted in zip(*fits, strict=True))

    def cross_fit(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, fold_N: Tensor
    ) -> CrossFittedCost:
        """See :meth:`GroundCost.cross_fit`; every part is cross-fitted in its own way."""
        fits = [
            part.cross_fit(predictions, labels_N, num_classes, fold_N).costs for part in self._parts
        ]
        costs = tuple(self._mix(fitted) for fitted in zip(*fits, strict=True))
        return CrossFittedCost(fold_N, costs)

    @property
    def _parts(self) -> list[GroundCost]:
        return [part.at_temperature(self.temperature) for part in self.parts]

    def _mix(self, fitted: Iterable[FittedCost]) -> FittedCost:
        scaled = [
            weight * part.cost_KM / row_spread(part.cost_KM)
            for weight, part in zip(self.weights, fitted, strict=True)
        ]
        cost_KM = sum(scaled[1:], start=scaled[0])
        return FittedCost(cost_KM, self.temperature)


def row_spread(cost_KM: Tensor) -> float:
    """Root mean square of the entries' deviations from their row's mean; 1 where rows are constant.

    Spreads below 1e-12 of the largest entry are rounding.
    """
    deviation_KM = cost_KM - cost_KM.mean(dim=1, keepdim=True)
    spread = float(deviation_KM.square().mean().sqrt())
    return spread if spread > 1e-12 * float(cost_KM.abs().max()) else 1.0
