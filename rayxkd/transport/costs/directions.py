"""Predictions written in as many directions as there are images, at most.

Legend: N images, K teacher classes, M target classes, R directions, F fits on some of the images.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

# Share of the largest square below which a direction holds nothing but rounding.
_ROUNDING = {torch.float32: 1e-7, torch.float64: 1e-10}


class Directions:
    """p = mean + s X back', with X of orthogonal columns and unit mean squared rows.

    The optimum of a cost that is fitted to images lies in their span, so R <= N directions replace
    K classes, and a ridge on the cost is the same ridge on coefficients of directions, because
    ``back`` has orthogonal columns.

    Args:
        source_NK: the teacher's mass, float32 or float64; so is all that is made of it.

    Attributes:
        features_NR: X.
        square_R: squared length of the columns of X, ascending.
    """

    def __init__(self, source_NK: Tensor) -> None:
        self._mean_K = source_NK.mean(dim=0)
        self._centred_NK = source_NK - self._mean_K
        self._scale = self._centred_NK.square().sum(dim=1).mean().sqrt()
        if self._scale == 0:  # a teacher that says the same of every image
            self._scale = torch.ones_like(self._scale)
        self._centred_NK /= self._scale
        # The same directions from the smaller of two Gram matrices.
        self._by_classes = self._centred_NK.shape[1] < len(self._centred_NK)
        short = self._centred_NK.T if self._by_classes else self._centred_NK
        square_R, self._vectors = _carry_more_than_rounding(*torch.linalg.eigh(short @ short.T))
        self.square_R: Tensor = square_R
        if self._by_classes:
            self.features_NR = self._centred_NK @ self._vectors
        else:
            self.features_NR = self._vectors * square_R.sqrt()

    def cost_change_KM(self, solution_MR: Tensor) -> Tensor:
        """(D - 1 mean' D) / s of coefficients: what they add to a cost, 0 on average."""
        change_KM = self._back_KR @ solution_MR.T
        return change_KM - self._mean_K @ change_KM

    def like(self, solution_FMR: Tensor, other: Directions) -> Tensor:
        """Coefficients that add to images' costs what some of other directions do, or nearly.

        Where a direction carries so little that the other ones may miss it, they are zero.
        """
        change_FMN = solution_FMR @ other.features_NR.to(solution_FMR).T
        known_R = self.square_R > 100 * _ROUNDING[other.square_R.dtype] * self.square_R[-1]
        return (change_FMN @ self.features_NR) * (known_R / self.square_R)

    @cached_property
    def _back_KR(self) -> Tensor:
        if self._by_classes:
            return self._vectors / self._scale
        return self._centred_NK.T @ (self._vectors / self.square_R.sqrt()) / self._scale


def _carry_more_than_rounding(square_R: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The directions that do; the last (largest) one always stays."""
    square_R = square_R.clamp_min(1e-30)
    first = int((square_R < _ROUNDING[square_R.dtype] * square_R[-1]).sum())
    return square_R[first:], vectors[:, first:].contiguous()
