"""Many regularised logistic problems over one set of predictions, solved together.

Legend: N images, K teacher classes, M target classes, R directions, F fits on some of the images,
G candidates, B problems: each is one of the fits with a candidate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from rayxkd.transport.costs.base import FittedCost
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
    """Predictions at one temperature, written in as many directions as there are images.

    p = mean + s X back', with X [N, R] of orthogonal columns and unit mean squared rows. The
    optimum lies in the span of the images, so R <= N directions replace K classes, and a ridge on
    D is the same ridge on the coefficients, because ``back`` has orthogonal columns.

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
        self._target_MN = target_NM.T.contiguous()
        self._label_11N = target_NM.argmax(dim=1)[None, None]
        self._inside_FN = inside_FN
        self._prior = prior
        self._find_directions(source_NK)
        self._prior_score_FMN = -(prior.cost_FKM.transpose(1, 2) @ source_NK.T)
        self._found: dict[Candidate, Tensor] = {}

    def fit(self, candidate: Candidate) -> tuple[FittedCost, ...]:
        """The cost C0 + (D - 1 mean' D) / s of every fit."""
        solution_FMR = self._solve([candidate], _FINAL)[:, 0]
        costs = []
        for solution_MR, prior_KM in zip(
            solution_FMR, self._prior.scaled_FKM(candidate.scale), strict=True
        ):
            change_KM = self._back_KR @ solution_MR.T
            cost_KM = prior_KM + change_KM - self._mean_K @ change_KM
            costs.append(FittedCost(cost_KM, self._temperature, normalised=True))
        return tuple(costs)

    def losses(self, candidates: list[Candidate]) -> dict[Candidate, float]:
        """For each candidate, the mean loss of images under the one fit that did not see them."""
        if not candidates:
            return {}
        solution_FGMR = self._solve(candidates, _ROUGH)
        problems = _Problems.of(len(self._inside_FN), candidates)
        change_BMN = _changes_BMN(solution_FGMR.flatten(0, 1), self._features_NR)
        log_p_BMN = log_softmax(self._prior_scores_BMN(problems) - change_BMN, dim=1)
        loss_FGN = self._losses_BN(log_p_BMN).view(*solution_FGMR.shape[:2], -1)
        loss_G = torch.einsum("fgn,fn->gn", loss_FGN, (~self._inside_FN).double()).mean(dim=1)
        return dict(zip(candidates, loss_G.tolist(), strict=True))

    def _solve(self, candidates: list[Candidate], effort: _Effort) -> Tensor:
        """Minimise all problems, in batches that fit into the cache; coefficients [F, G, M, R]."""
        problems = _Problems.of(len(self._inside_FN), candidates)
        start_FGMR = torch.stack([self._start_FMR(candidate) for candidate in candidates], dim=1)
        size = max(1, _BATCH // start_FGMR[0, 0].numel())
        starts = torch.split(start_FGMR.flatten(0, 1), size)
        solution_FGMR = torch.cat(
            [
                self._solve_batch(batch, start_BMR, effort)
                for batch, start_BMR in zip(problems.split(size), starts, strict=True)
            ]
        ).view_as(start_FGMR)
        self._found.update(zip(candidates, solution_FGMR.unbind(dim=1), strict=True))
        return solution_FGMR

    def _start_FMR(self, candidate: Candidate) -> Tensor:
        """What was found for it or for the candidate most like it, else zero."""
        if not self._found:
            size = (len(self._inside_FN), len(self._target_MN), len(self._square_R))
            return torch.zeros(size, dtype=torch.float64)
        return self._found[min(self._found, key=candidate.distance)]

    def _solve_batch(self, problems: _Problems, start_BMR: Tensor, effort: _Effort) -> Tensor:
        kind = effort.dtype
        ridge_B1 = problems.ridge_B[:, None]
        # Curvature along a direction is at most square / 2 + ridge (Boehning 1992). Rescaled by
        # about that, all directions are alike, and tens of iterations suffice, not hundreds.
        rescale_B1R = (self._square_R / 4 + ridge_B1).rsqrt()[:, None].to(kind)
        ridge_B1 = ridge_B1.to(kind)
        inside_BN = self._inside_FN[problems.fit_B].to(kind)
        fixed_BMN = self._prior_scores_BMN(problems).to(kind)
        features_NR, target_MN = self._features_NR.to(kind), self._target_MN.to(kind)

        def objective(point_BX: Tensor) -> tuple[Tensor, Tensor]:
            solution_BMR = point_BX.view_as(start_BMR) * rescale_B1R
            log_p_BMN = log_softmax(fixed_BMN - _changes_BMN(solution_BMR, features_NR), dim=1)
            penalty_B1 = ridge_B1 / 2 * solution_BMR.square().sum(dim=(1, 2))[:, None]
            value_B1 = (self._losses_BN(log_p_BMN) * inside_BN).sum(dim=1, keepdim=True)
            residual_BMN = (target_MN - log_p_BMN.exp_()).mul_(inside_BN[:, None])
            pull_BMR = (residual_BMN.flatten(0, 1) @ features_NR).view_as(solution_BMR)
            gradient_BMR = rescale_B1R * pull_BMR.add_(ridge_B1[..., None] * solution_BMR)
            return (value_B1 + penalty_B1)[:, 0], gradient_BMR.flatten(1)

        start_BX = (start_BMR.to(kind) / rescale_B1R).flatten(1)
        point_BX = minimise_batch(objective, start_BX, tolerance=effort.tolerance)
        return (point_BX.view_as(start_BMR) * rescale_B1R).double()

    def _find_directions(self, source_NK: Tensor) -> None:
        self._mean_K = source_NK.mean(dim=0)
        centred_NK = source_NK - self._mean_K
        scale = centred_NK.square().sum(dim=1).mean().sqrt()
        if scale == 0:  # a teacher that says the same of every image: only C0 is left
            scale = torch.ones_like(scale)
        centred_NK = centred_NK / scale
        square_R: Tensor
        # The same directions from the smaller of two Gram matrices.
        if centred_NK.shape[1] < len(centred_NK):
            square_R, vectors_KR = torch.linalg.eigh(centred_NK.T @ centred_NK)
            keep_R = _carry_more_than_rounding(square_R)
            self._back_KR = vectors_KR[:, keep_R] / scale
            self._features_NR: Tensor = centred_NK @ vectors_KR[:, keep_R]
        else:
            square_R, vectors_NR = torch.linalg.eigh(centred_NK @ centred_NK.T)
            keep_R = _carry_more_than_rounding(square_R)
            length_R = square_R[keep_R].clamp_min(1e-300).sqrt()
            self._features_NR = vectors_NR[:, keep_R] * length_R
            self._back_KR = centred_NK.T @ (vectors_NR[:, keep_R] / length_R) / scale
        self._square_R = square_R[keep_R].clamp_min(1e-300)

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


def _carry_more_than_rounding(square_R: Tensor) -> Tensor:
    """Which directions do; the last (largest) one always stays."""
    square_R = square_R.clamp_min(1e-300)
    return square_R >= 1e-10 * square_R[-1]
