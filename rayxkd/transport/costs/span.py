"""Many regularised logistic problems over one set of predictions, solved together.

Legend: N images, K teacher classes, M target classes, R directions, F fits on some of the images,
G candidates, B problems: each is one of the fits with a candidate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from rayxkd.transport.costs.base import FittedCost
from rayxkd.transport.costs.directions import Directions
from rayxkd.transport.costs.prior import Prior
from rayxkd.transport.lbfgs import minimise_batch


@dataclass(frozen=True)
class _Effort:
    """How well problems are solved: the largest gradient entry left, and the kind of numbers."""

    tolerance: float
    dtype: torch.dtype


# To compare candidates, whose losses are right to 2e-5 nats then, and to score: the mean is right
# to 1e-8 nats and the worst image to 1e-6; entries of a cost do not depend on the batches.
_ROUGH, _FINAL = _Effort(1e-4, torch.float32), _Effort(1e-9, torch.float64)
# Numbers in a point [B, M, R] up to which problems are solved in one batch. The solver holds some
# twenty points, and more than this falls out of the processor's cache; besides, a batch works on
# until its slowest problem is finished.
_BATCH = 100_000


@dataclass(frozen=True)
class Candidate:
    """What is chosen by cross-fitted loss, beside the temperature."""

    ridge: float
    scale: float

    def distance(self, other: Candidate) -> tuple[float, float]:
        """How unlike another candidate is: by scale first, which moves all scores."""
        return abs(self.scale - other.scale), abs(math.log(self.ridge / other.ridge))


@dataclass(frozen=True)
class _Problems:
    """B problems: which fit's images and prior each has, its ridge, and its prior's scale."""

    fit_B: Tensor
    ridge_B: Tensor
    scale_B: Tensor

    @classmethod
    def of(cls, fits: int, candidates: list[Candidate]) -> _Problems:
        """Every fit with every candidate; the candidate changes fastest."""
        pairs = list(product(range(fits), candidates))
        return cls(
            torch.tensor([fit for fit, _ in pairs]),
            torch.tensor([candidate.ridge for _, candidate in pairs], dtype=torch.float64),
            torch.tensor([candidate.scale for _, candidate in pairs], dtype=torch.float64),
        )

    def split(self, size: int) -> list[_Problems]:
        rows = [slice(start, start + size) for start in range(0, len(self.fit_B), size)]
        return [_Problems(self.fit_B[r], self.ridge_B[r], self.scale_B[r]) for r in rows]


class Span:
    """The costs that fits on some of the images find at one temperature, for any candidate.

    Args:
        source_NK: the teacher's mass, float64.
        target_NM: one-hot labels, float64.
        inside_FN: which images each of F fits may see.
        prior: what each of them shrinks towards.
        temperature: at which ``source_NK`` was made.
    """

    def __init__(
        self,
        source_NK: Tensor,
        target_NM: Tensor,
        inside_FN: Tensor,
        prior: Prior,
        temperature: float,
    ) -> None:
        self._temperature = temperature
        self._source_NK = source_NK
        self._target_MN = target_NM.T.contiguous()
        self._label_11N = target_NM.argmax(dim=1)[None, None]
        self._inside_FN = inside_FN
        self._prior = prior
        self._prior_score_FMN = -(prior.cost_FKM.transpose(1, 2) @ source_NK.T)
        self._found: dict[Candidate, Tensor] = {}

    def fit(self, candidate: Candidate) -> tuple[FittedCost, ...]:
        """The cost C0 + (D - 1 mean' D) / s of every fit."""
        directions = self._directions(_FINAL)
        start_FMR = self._start_FMR(candidate, directions)
        solution_FMR = self._solve([candidate], start_FMR[:, None], directions, _FINAL)[:, 0]
        costs = []
        for solution_MR, prior_KM in zip(
            solution_FMR, self._prior.scaled_FKM(candidate.scale), strict=True
        ):
            cost_KM = prior_KM + directions.cost_change_KM(solution_MR)
            costs.append(FittedCost(cost_KM, self._temperature, normalised=True))
        return tuple(costs)

    def losses(self, candidates: list[Candidate]) -> dict[Candidate, float]:
        """For each candidate, the mean loss of images under the one fit that did not see them."""
        if not candidates:
            return {}
        start_FGMR = torch.stack([self._start_FMR(each, self._rough) for each in candidates], dim=1)
        solution_FGMR = self._solve(candidates, start_FGMR, self._rough, _ROUGH)
        self._found.update(zip(candidates, solution_FGMR.unbind(dim=1), strict=True))
        problems = _Problems.of(len(self._inside_FN), candidates)
        change_BMN = _changes_BMN(solution_FGMR.flatten(0, 1), self._rough.features_NR)
        log_p_BMN = log_softmax(self._prior_scores_BMN(problems) - change_BMN, dim=1)
        loss_FGN = self._losses_BN(log_p_BMN).view(*solution_FGMR.shape[:2], -1)
        loss_G = torch.einsum("fgn,fn->gn", loss_FGN, (~self._inside_FN).double()).mean(dim=1)
        return dict(zip(candidates, loss_G.tolist(), strict=True))

    def _directions(self, effort: _Effort) -> Directions:
        return Directions(self._source_NK.to(effort.dtype))

    @cached_property
    def _rough(self) -> Directions:
        return self._directions(_ROUGH)

    def _start_FMR(self, candidate: Candidate, directions: Directions) -> Tensor:
        """What was found roughly for it or for the candidate most like it, else zero."""
        if not self._found:
            size = (len(self._inside_FN), len(self._target_MN), len(directions.square_R))
            return directions.square_R.new_zeros(size)
        found_FMR = self._found[min(self._found, key=candidate.distance)]
        if directions is self._rough:
            return found_FMR
        return directions.like(found_FMR.to(directions.square_R), self._rough)

    def _solve(
        self,
        candidates: list[Candidate],
        start_FGMR: Tensor,
        directions: Directions,
        effort: _Effort,
    ) -> Tensor:
        """Minimise all problems, in batches that fit into the cache; coefficients [F, G, M, R]."""
        problems = _Problems.of(len(self._inside_FN), candidates)
        size = max(1, _BATCH // start_FGMR[0, 0].numel())
        starts = torch.split(start_FGMR.flatten(0, 1), size)
        solutions = [
            self._solve_batch(batch, start_BMR, directions, effort.tolerance)
            for batch, start_BMR in zip(problems.split(size), starts, strict=True)
        ]
        return torch.cat(solutions).view_as(start_FGMR)

    def _solve_batch(
        self, problems: _Problems, start_BMR: Tensor, directions: Directions, tolerance: float
    ) -> Tensor:
        kind, features_NR = start_BMR.dtype, directions.features_NR
        ridge_B11 = problems.ridge_B[:, None, None].to(kind)
        # Curvature along a direction is at most square / 2 + ridge (Boehning 1992), and about this
        # on average. Rescaled by it, all directions are alike, and tens of iterations suffice.
        rescale_B1R = (directions.square_R / 10 + ridge_B11).rsqrt()
        pull_back_B1R = ridge_B11 * rescale_B1R.square()
        inside_BN = self._inside_FN[problems.fit_B].to(kind)
        fixed_BMN = self._prior_scores_BMN(problems).to(kind)
        target_MN = self._target_MN.to(kind)

        def objective(point_BX: Tensor) -> tuple[Tensor, Tensor]:
            point_BMR = point_BX.view_as(start_BMR)
            change_BMN = _changes_BMN(point_BMR * rescale_B1R, features_NR)
            log_p_BMN = log_softmax(fixed_BMN - change_BMN, dim=1)
            ridge_BX = (pull_back_B1R * point_BMR).flatten(1)
            penalty_B = torch.linalg.vecdot(ridge_BX, point_BX) / 2
            value_B = torch.linalg.vecdot(self._losses_BN(log_p_BMN), inside_BN) + penalty_B
            residual_BMN = (target_MN - log_p_BMN.exp_()).mul_(inside_BN[:, None])
            pull_BMR = (residual_BMN.flatten(0, 1) @ features_NR).view_as(start_BMR)
            return value_B, pull_BMR.mul_(rescale_B1R).flatten(1).add_(ridge_BX)

        start_BX = (start_BMR / rescale_B1R).flatten(1)
        point_BX = minimise_batch(objective, start_BX, tolerance=tolerance)
        return point_BX.view_as(start_BMR) * rescale_B1R

    def _prior_scores_BMN(self, problems: _Problems) -> Tensor:
        scale_B11, fit_B = problems.scale_B[:, None, None], problems.fit_B
        return scale_B11 * self._prior_score_FMN[fit_B] - self._prior.bias_FM[fit_B][..., None]

    def _losses_BN(self, log_p_BMN: Tensor) -> Tensor:
        label_B1N = self._label_11N.expand(len(log_p_BMN), -1, -1)
        return -log_p_BMN.gather(1, label_B1N)[:, 0]


def _changes_BMN(solution_BMR: Tensor, features_NR: Tensor) -> Tensor:
    """What the directions add to every problem's costs."""
    # Few rows and many columns: this way round a product takes half as long.
    change = solution_BMR.flatten(0, 1) @ features_NR.T
    return change.view(*solution_BMR.shape[:2], -1)
