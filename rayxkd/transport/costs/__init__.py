"""Ground costs between two label spaces."""

from __future__ import annotations

from rayxkd.errors import unknown_name
from rayxkd.transport.costs.base import (
    CrossFittedCost,
    FeatureScale,
    FittedCost,
    GroundCost,
    LabelFreeCost,
    stratified_folds,
)
from rayxkd.transport.costs.cooccurrence import CooccurrenceCost
from rayxkd.transport.costs.features import FeatureCost
from rayxkd.transport.costs.learned import LearnedCost
from rayxkd.transport.costs.matrix import CallableCost, MatrixCost
from rayxkd.transport.costs.mixed import MixedCost
from rayxkd.transport.costs.prototype import PrototypeCost
from rayxkd.transport.costs.semantic import SemanticCost

__all__ = [
    "GROUND_COSTS",
    "CallableCost",
    "CooccurrenceCost",
    "CrossFittedCost",
    "FeatureCost",
    "FeatureScale",
    "FittedCost",
    "GroundCost",
    "LabelFreeCost",
    "LearnedCost",
    "MatrixCost",
    "MixedCost",
    "PrototypeCost",
    "SemanticCost",
    "ground_cost",
    "stratified_folds",
]

# Those that need nothing else: what a user can type.
GROUND_COSTS: dict[str, type[GroundCost]] = {
    cost.name: cost for cost in (LearnedCost, FeatureCost, CooccurrenceCost, PrototypeCost)
}


def ground_cost(name: str, temperature: float | None = None) -> GroundCost:
    """The ground cost of that name.

    Args:
        name: a key of :data:`GROUND_COSTS`.
        temperature: of the teacher's softmax; ``None`` takes the cost's own default, which for
            ``learned`` is to fit it.

    Raises:
        UserError: no cost has that name.
    """
    if name not in GROUND_COSTS:
        raise unknown_name("ground cost", name, GROUND_COSTS)
    if temperature is None:
        return GROUND_COSTS[name]()
    return GROUND_COSTS[name]().at_temperature(temperature)
