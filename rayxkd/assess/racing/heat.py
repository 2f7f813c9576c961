"""What a round learns of one teacher, from its predictions on a part of the probe set."""

from __future__ import annotations

from torch import Tensor

from rayxkd.assess.racing.bound import COARSE_FOLDS, Floats
from rayxkd.assess.racing.race import Heat
from rayxkd.transport import GroundCost, Predictions, score_transport, stratified_folds


def judge(
    cost: GroundCost,
    predictions: Predictions,
    labels_P: Tensor,
    reference_PM: Tensor,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Heat:
    """Score a teacher as the scan does, on these images alone, and once more from half of them.

    Args:
        cost: the ground cost.
        predictions: the teacher's output on P images.
        labels_P: target labels, int64; two of every class at least.
        reference_PM: what predictions are moved to, rows sum to one.
        folds: of the scan.
        seed: of the folds.
    """
    return Heat(
        image_costs(cost, predictions, labels_P, reference_PM, folds=folds, seed=seed),
        image_costs(cost, predictions, labels_P, reference_PM, folds=COARSE_FOLDS, seed=seed),
    )


def image_costs(
    cost: GroundCost,
    predictions: Predictions,
    labels_P: Tensor,
    reference_PM: Tensor,
    *,
    folds: int,
    seed: int = 0,
) -> Floats:
    """Cross-fitted transport cost of every image, [P]; arguments as in :func:`judge`."""
    fold_P = stratified_folds(labels_P, min(folds, len(labels_P)), seed)
    fitted = cost.cross_fit(predictions, labels_P, reference_PM.shape[1], fold_P)
    costs: Floats = score_transport(predictions, reference_PM, fitted).cost_N.numpy(force=True)
    return costs.astype("float64", copy=False)
