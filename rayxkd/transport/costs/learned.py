"""Inverse optimal transport: the ground cost under which transport to the right class is cheapest.

Legend: N images, K teacher classes, M target classes, R directions, F fits on some of the images,
G ridges, B = F x G problems that are solved at once, T temperatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rayxkd.transport.costs.base import (
    CrossFittedCost,
    FittedCost,
    GroundCost,
    one_hot_NM,
    stratified_folds,
)
from rayxkd.transport.costs.cooccurrence import cooccurrence_KM
from rayxkd.transport.lbfgs import minimise_batch
from rayxkd.transport.predictions import Predictions

# Largest gradient entry at which a fit is finished: to compare candidates, and to score. The
# second leaves an error below 1e-7 nats an image.
_ROUGH, _FINAL = 1e-4, 1e-6


@dataclass(frozen=True)
class LearnedCost(GroundCost):
    """C fitted so that the expected cost sum_k p_ik C[k, m] is least at the right class (ours).

    With c_im = sum_k p_ik C[k, m], minimises over C
    ``sum_i (c_iy + log sum_m exp(-c_im)) + ridge / 2 * |D|^2``, where C = C0 + (D - 1 mean' D) / s:
    C0 is the co-occurrence cost at the same temperature, ``mean`` the mean of p over all images
    (held-out ones too: no label enters it), and s the root mean squared norm of p - mean, which
    makes ``ridge`` free of scale.
    Temperature and ridge are chosen by cross-fitted loss. The objective is strictly convex in D.

    An image's score is normalised: its transport cost plus log sum_m exp(-c_im) is a negative
    log-likelihood in nats, so that teachers can be compared.

    Assumes labels that are right, and a probe set that looks like the task. Fails where there are
    fewer than about five images in a class, and says nothing of classes without images.

    Attributes:
        temperatures: candidates for the temperature of the teacher's softmax.
        ridges: candidates for the ridge (a precision: larger stays closer to C0).
        shrinkage: see :class:`CooccurrenceCost`.
        folds: for choosing temperature and ridge where the caller gives no folds.
    """

    name: ClassVar[str] = "learned"
    unit: ClassVar[str] = "nats"
    temperatures: tuple[float, ...] = (1.0, 4.0, 16.0)
    ridges: tuple[float, ...] = (0.05, 0.15, 0.5, 1.5)
    shrinkage: float = 1.0
    folds: int = 5

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """See :meth:`GroundCost.fit`; temperature and ridge are those of least cross-fitted loss.

        Raises:
            ValueError: fewer than two images.
        """
        images = _LabelledImages(predictions, labels_N, num_classes)
        fold_N = stratified_folds(labels_N, min(self.folds, len(labels_N)))
        choice = self._choose(images, _outside_FN(fold_N))
        everything_1N = torch.ones(1, len(labels_N), dtype=torch.bool)
        return self._fit(images, everything_1N, choice)[0]

    def cross_fit(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, fold_N: Tensor
    ) -> CrossFittedCost:
        """See :meth:`GroundCost.cross_fit`; all folds are solved as one batch.

        Every entry of a fold's cost is fitted without its images. Temperature and ridge, two
        numbers out of a dozen candidates, are those of least cross-fitted loss over all images:
        chosen anew for every fold they follow a few hard images, and scores of small probe sets
        jump.
        """
        images = _LabelledImages(predictions, labels_N, num_classes)
        outside_FN = _outside_FN(fold_N)
        choice = self._choose(images, outside_FN)
        return CrossFittedCost(fold_N, tuple(self._fit(images, outside_FN, choice)))

    def _fit(self, images: _LabelledImages, inside_FN: Tensor, choice: _Choice) -> list[FittedCost]:
        span = _Span(images, inside_FN, choice.temperature, self.shrinkage)
        ridge_F1 = torch.full((len(inside_FN), 1), choice.ridge, dtype=torch.float64)
        solution_RFM = span.solve(ridge_F1, _FINAL)[:, :, 0]
        return [span.cost(fit, solution_RFM[:, fit]) for fit in range(len(inside_FN))]

    def _choose(self, images: _LabelledImages, inside_FN: Tensor) -> _Choice:
        """The temperature at a ridge in the middle, then the ridge at that temperature."""
        spans = [_Span(images, inside_FN, t, self.shrinkage) for t in self.temperatures]
        middle = (self.ridges[len(self.ridges) // 2],)
        loss_T = torch.cat([span.held_out_losses_GN(middle).mean(dim=1) for span in spans])
        best = int(loss_T.argmin())
        loss_G = spans[best].held_out_losses_GN(self.ridges).mean(dim=1)
        return _Choice(self.temperatures[best], self.ridges[int(loss_G.argmin())])


@dataclass(frozen=True)
class _Choice:
    temperature: float
    ridge: float


@dataclass(frozen=True)
class _LabelledImages:
    predictions: Predictions
    labels_N: Tensor
    num_classes: int


def _outside_FN(fold_N: Tensor) -> Tensor:
    return torch.stack([fold_N != fold for fold in range(int(fold_N.max()) + 1)])


class _Span:
    """Predictions at one temperature, written in as many directions as there are images.

    p = mean + s X back', with X [N, R] of orthogonal columns and unit mean squared rows. The
    optimum lies in the span of the images, so R <= N directions replace K classes, and a ridge on
    D is the same ridge on the coefficients, because ``back`` has orthogonal columns.

    ``inside_FN`` says which images each of F fits may see.
    """

    def __init__(
        self, images: _LabelledImages, inside_FN: Tensor, temperature: float, shrinkage: float
    ) -> None:
        self._temperature = temperature
        self._inside_FN = inside_FN
        source_NK = images.predictions.probabilities_NK(temperature)
        self._target_NM = one_hot_NM(images.labels_N, images.num_classes)
        self._prior_FKM = torch.stack(
            [
                cooccurrence_KM(
                    source_NK[rows], images.labels_N[rows], images.num_classes, shrinkage
                )
                for rows in inside_FN
            ]
        )
        self._prior_score_NFM: Tensor = torch.einsum("nk,fkm->nfm", source_NK, -self._prior_FKM)
        self._find_directions(source_NK)

    def cost(self, fit: int, solution_RM: Tensor) -> FittedCost:
        """C0 + (D - 1 mean' D) / s of one fit."""
        change_KM = self._back_KR @ solution_RM
        cost_KM = self._prior_FKM[fit] + change_KM - self._mean_K @ change_KM
        return FittedCost(cost_KM, self._temperature, normalised=True)

    def held_out_losses_GN(self, ridges: tuple[float, ...]) -> Tensor:
        """For every ridge, each image's loss under the one fit that did not see it."""
        ridge_FG = torch.tensor(ridges).double().expand(len(self._inside_FN), -1)
        loss_NFG = self._losses_NFG(self._scores_NFGM(self.solve(ridge_FG, _ROUGH)))
        losses_GN: Tensor = torch.einsum("nfg,fn->gn", loss_NFG, (~self._inside_FN).double())
        return losses_GN

    def solve(self, ridge_FG: Tensor, tolerance: float) -> Tensor:
        """Minimise for every fit and each of its ridges; coefficients [R, F, G, M]."""
        directions, classes = len(self._square_R), self._target_NM.shape[1]
        shape = (directions, *ridge_FG.shape, classes)
        # Curvature along a direction is at most square / 2 + ridge (Boehning 1992). Rescaled by
        # about that, all directions are alike, and tens of iterations suffice, not hundreds.
        rescale = (self._square_R[:, None, None] / 4 + ridge_FG).rsqrt()[..., None]
        inside_NF1 = self._inside_FN.double().T[:, :, None]

        def objective(point_RBM: Tensor) -> tuple[Tensor, Tensor]:
            solution = point_RBM.view(shape) * rescale
            score = self._scores_NFGM(solution)
            penalty_FG = ridge_FG / 2 * solution.square().sum(dim=(0, 3))
            value_FG = (self._losses_NFG(score) * inside_NF1).sum(dim=0) + penalty_FG
            residual = self._target_NM[:, None, None, :] - torch.softmax(score, dim=3)
            residual *= inside_NF1[..., None]
            pull = (self._features_NR.T @ residual.flatten(1)).view(shape)
            gradient = rescale * (pull + ridge_FG[:, :, None] * solution)
            return value_FG.flatten(), gradient.view(point_RBM.shape)

        start = torch.zeros(directions, ridge_FG.numel(), classes, dtype=torch.float64)
        return minimise_batch(objective, start, tolerance=tolerance).view(shape) * rescale

    def _find_directions(self, source_NK: Tensor) -> None:
        self._mean_K = source_NK.mean(dim=0)
        centred_NK = source_NK - self._mean_K
        scale = centred_NK.square().sum(dim=1).mean().sqrt()
        if scale == 0:  # a teacher that says the same of every image: only C0 is left
            scale = torch.ones_like(scale)
        centred_NK = centred_NK / scale
        square_R: Tensor
        square_R, vectors_NR = torch.linalg.eigh(centred_NK @ centred_NK.T)
        square_R = square_R.clamp_min(1e-300)
        # Directions below this carry rounding errors only; the last (largest) one always stays.
        keep_R = square_R >= 1e-10 * square_R[-1]
        self._square_R = square_R[keep_R]
        length_R = self._square_R.sqrt()
        self._features_NR: Tensor = vectors_NR[:, keep_R] * length_R
        self._back_KR = centred_NK.T @ (vectors_NR[:, keep_R] / length_R) / scale

    def _scores_NFGM(self, solution_RFGM: Tensor) -> Tensor:
        """-c_im of every fit and ridge, less what does not depend on m."""
        change = self._features_NR @ solution_RFGM.flatten(1)
        return self._prior_score_NFM[:, :, None, :] - change.view(-1, *solution_RFGM.shape[1:])

    def _losses_NFG(self, score_NFGM: Tensor) -> Tensor:
        chosen_NFG: Tensor = torch.einsum("nfgm,nm->nfg", score_NFGM, self._target_NM)
        return torch.logsumexp(score_NFGM, dim=3) - chosen_NFG
