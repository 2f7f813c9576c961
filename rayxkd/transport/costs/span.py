"""Many regularised logistic problems over one set of predictions, solved together.

Legend: N images, K teacher classes, M target classes, R directions, F fits on some of the images,
B problems: each is one of the fits with a ridge and a scale of its prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from rayxkd.transport.costs.base import FittedCost
from rayxkd.transport.costs.prior import Prior
from rayxkd.transport.lbfgs import minimise_batch

# Largest gradient entry at which a fit is finished: to compare candidates, and to score. The
# second leaves an error below 1e-7 nats an image.
_ROUGH, _FINAL = 1e-4, 1e-6
# Numbers in a point [R, B, M] up to which problems are solved in one batch. The solver holds some
# twenty points, and more than this falls out of the processor's cache; besides, a batch works on
# until its slowest problem is finished.
_BATCH = 100_000


@dataclass(frozen=True)
class Candidate:
    """What is chosen by cross-fitted loss, beside the temperature."""

    ridge: float
    scale: float


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
        self._target_NM = target_NM
        self._label_N11 = target_NM.argmax(dim=1)[:, None, None]
        self._inside_FN = inside_FN
        self._prior = prior
        self._find_directions(source_NK)
        self._prior_score_NFM: Tensor = torch.einsum("nk,fkm->nfm", source_NK, -prior.cost_FKM)

    def fit(self, candidate: Candidate) -> tuple[FittedCost, ...]:
        """The cost C0 + (D - 1 mean' D) / s of every fit."""
        problems = _Problems.of(len(self._inside_FN), [candidate])
        solution_RFM = self._solve(problems, _FINAL)
        costs = []
        for fit, prior_KM in enumerate(self._prior.scaled_FKM(candidate.scale)):
            change_KM = self._back_KR @ solution_RFM[:, fit]
            cost_KM = prior_KM + change_KM - self._mean_K @ change_KM
            costs.append(FittedCost(cost_KM, self._temperature, normalised=True))
        return tuple(costs)

    def losses(self, candidates: list[Candidate]) -> dict[Candidate, float]:
        """For each candidate, the mean loss of images under the one fit that did not see them."""
        if not candidates:
            return {}
        problems = _Problems.of(len(self._inside_FN), candidates)
        solution_RBM = self._solve(problems, _ROUGH)
        log_p_NBM = log_softmax(self._scores_NBM(problems, solution_RBM), dim=2)
        loss_NFG = self._losses_NB(log_p_NBM).view(-1, len(self._inside_FN), len(candidates))
        loss_G = torch.einsum("nfg,fn->gn", loss_NFG, (~self._inside_FN).double()).mean(dim=1)
        return dict(zip(candidates, loss_G.tolist(), strict=True))

    def _solve(self, problems: _Problems, tolerance: float) -> Tensor:
        """Minimise all problems, in batches that fit into the cache; coefficients [R, B, M]."""
        size = max(1, _BATCH // (len(self._square_R) * self._target_NM.shape[1]))
        batches = problems.split(size)
        return torch.cat([self._solve_batch(batch, tolerance) for batch in batches], dim=1)

    def _solve_batch(self, problems: _Problems, tolerance: float) -> Tensor:
        ridge_B = problems.ridge_B
        # Curvature along a direction is at most square / 2 + ridge (Boehning 1992). Rescaled by
        # about that, all directions are alike, and tens of iterations suffice, not hundreds.
        rescale_RB1 = (self._square_R[:, None] / 4 + ridge_B).rsqrt()[..., None]
        inside_NB = self._inside_FN[problems.fit_B].double().T
        fixed_NBM = self._prior_scores_NBM(problems)

        # The solver's dot products read a problem's numbers in one piece, the matrix products
        # below want all problems side by side: a point is turned round once an evaluation.
        shape = (len(ridge_B), len(self._square_R), self._target_NM.shape[1])

        def objective(point_1BX: Tensor) -> tuple[Tensor, Tensor]:
            solution_RBM = point_1BX.view(shape).transpose(0, 1) * rescale_RB1
            log_p_NBM = log_softmax(fixed_NBM - self._changes_NBM(solution_RBM), dim=2)
            penalty_B = ridge_B / 2 * solution_RBM.square().sum(dim=(0, 2))
            value_B = (self._losses_NB(log_p_NBM) * inside_NB).sum(dim=0) + penalty_B
            residual_NBM = self._target_NM[:, None] - log_p_NBM.exp()
            residual_NBM *= inside_NB[..., None]
            pull_RBM = (self._features_NR.T @ residual_NBM.flatten(1)).view_as(solution_RBM)
            gradient_RBM = rescale_RB1 * (pull_RBM + ridge_B[:, None] * solution_RBM)
            return value_B, gradient_RBM.transpose(0, 1).reshape(point_1BX.shape)

        start_1BX = torch.zeros(1, shape[0], shape[1] * shape[2], dtype=torch.float64)
        point_1BX = minimise_batch(objective, start_1BX, tolerance=tolerance)
        return point_1BX.view(shape).transpose(0, 1) * rescale_RB1

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

    def _scores_NBM(self, problems: _Problems, solution_RBM: Tensor) -> Tensor:
        """-c_im of every problem, less what does not depend on m."""
        return self._prior_scores_NBM(problems) - self._changes_NBM(solution_RBM)

    def _prior_scores_NBM(self, problems: _Problems) -> Tensor:
        scale_B1, fit_B = problems.scale_B[:, None], problems.fit_B
        return scale_B1 * self._prior_score_NFM[:, fit_B] - self._prior.bias_FM[fit_B]

    def _changes_NBM(self, solution_RBM: Tensor) -> Tensor:
        change = self._features_NR @ solution_RBM.flatten(1)
        return change.view(-1, *solution_RBM.shape[1:])

    def _losses_NB(self, log_p_NBM: Tensor) -> Tensor:
        label_NB1 = self._label_N11.expand(-1, log_p_NBM.shape[1], -1)
        return -log_p_NBM.gather(2, label_NB1)[..., 0]


def _carry_more_than_rounding(square_R: Tensor) -> Tensor:
    """Which directions do; the last (largest) one always stays."""
    square_R = square_R.clamp_min(1e-300)
    return square_R >= 1e-10 * square_R[-1]
