"""The score that ranks teachers: mean transport cost on the probe set, cross-fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rayxkd.transport.costs import CrossFittedCost
from rayxkd.transport.predictions import Predictions
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.solvers import solve

# Marginal error at which a sample has converged. It changes a mean cost by 0.01 to 0.2 % for real
# teachers, far less than another draw of the images does, and halves the time.
SCORE_TOLERANCE = 1e-2
# Resamples of the probe set, in batches that fit into the cache of a processor.
_BATCHES, _AT_A_TIME = 10, 100


@dataclass(frozen=True)
class TransportScore:
    """How much it costs to move a teacher's predictions to the reference.

    Attributes:
        cost_N: transport cost of every image, in the ground cost's unit; lower is better.
        independent_cost: mean cost if predictions and references were paired at random.
        converged: whether the solver converged on every image.
        map_KM: the average plan, float64, where it was asked for.
    """

    cost_N: Tensor
    independent_cost: float
    converged: bool
    map_KM: Tensor | None = None

    @property
    def cost(self) -> float:
        """Mean transport cost."""
        return float(self.cost_N.mean())

    @property
    def relative_cost(self) -> float:
        """Cost over independent cost: 1 means unrelated, 0 is the least there is."""
        return self.cost / self.independent_cost if self.independent_cost > 0 else 1.0

    def interval(self, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """Percentile bootstrap interval of the mean cost over images (Efron 1979).

        The same seed resamples the same images for every teacher on one probe set. The values are
        those of ``scipy.stats.bootstrap``, whose import takes as long as assessing some teachers:
        every worker would wait for it.
        """
        cost_N = self.cost_N.numpy(force=True)
        if np.ptp(cost_N) == 0:
            return self.cost, self.cost
        random, size = np.random.default_rng(seed), len(cost_N)
        mean_R = np.concatenate(
            [
                cost_N[random.integers(0, size, (_AT_A_TIME, size))].mean(axis=1)
                for _ in range(_BATCHES)
            ]
        )
        tail = (1 - confidence) / 2
        low, high = np.quantile(mean_R, [tail, 1 - tail]).tolist()
        return low, high


def score_transport(
    predictions: Predictions,
    reference_NM: Tensor,
    ground_cost: CrossFittedCost,
    *,
    method: str = "auto",
    epsilon: float | None = None,
    keep_map: bool = False,
) -> TransportScore:
    """Transport every image's prediction to its reference at the cost fitted without its fold.

    Args:
        predictions: the teacher's output on N images.
        reference_NM: what it is moved to, rows sum to one: one-hot labels or a student's softmax.
        ground_cost: from :meth:`GroundCost.cross_fit` on the same N images.
        method: see :func:`rayxkd.transport.solve`.
        epsilon: likewise.
        keep_map: work out the transport map too.
    """
    cost_N = reference_NM.new_empty(len(reference_NM), dtype=torch.float64)
    independent_N = torch.empty_like(cost_N)
    converged, map_KM = True, None
    mean_M = reference_NM.double().mean(dim=0)
    for fold, fitted in enumerate(ground_cost.costs):
        rows = ground_cost.fold_N == fold
        source_BK = fitted.source_NK(predictions.rows(rows))
        problem = TransportProblem(source_BK, reference_NM[rows].double(), fitted.cost_KM)
        output = solve(problem, method, epsilon=epsilon, tolerance=SCORE_TOLERANCE)
        offset_B = fitted.offset_N(source_BK)
        cost_N[rows] = output.cost_N + offset_B
        # For a cost without offset the mean of this is p_mean' C q_mean.
        independent_N[rows] = source_BK @ fitted.cost_KM @ mean_M + offset_B
        converged &= output.converged
        if keep_map:
            share_KM = output.transport_map() * (len(source_BK) / len(cost_N))
            map_KM = share_KM if map_KM is None else map_KM + share_KM
    return TransportScore(cost_N, float(independent_N.mean()), converged, map_KM)
