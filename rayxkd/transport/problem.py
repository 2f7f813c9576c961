"""N transport problems that share one ground cost: what a teacher says against what is true."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TransportProblem:
    """Move every row of ``source_NK`` to the same row of ``target_NM`` at cost ``cost_KM``.

    Attributes:
        source_NK: mass on the teacher's classes, not negative, rows sum to one; zeros are allowed.
        target_NM: mass on the target's classes, likewise.
        cost_KM: ground cost, finite.

    Raises:
        ValueError: shapes, signs, sums or values that make no transport problem.
    """

    source_NK: Tensor
    target_NM: Tensor
    cost_KM: Tensor

    def __post_init__(self) -> None:
        if self.cost_KM.shape != (self.source_NK.shape[-1], self.target_NM.shape[-1]):
            raise ValueError(
                f"cost {tuple(self.cost_KM.shape)} does not lie between source "
                f"{tuple(self.source_NK.shape)} and target {tuple(self.target_NM.shape)}"
            )
        if len(self.source_NK) != len(self.target_NM):
            raise ValueError(f"{len(self.source_NK)} sources for {len(self.target_NM)} targets")
        if not torch.isfinite(self.cost_KM).all():
            raise ValueError("the ground cost has entries that are not finite")
        for side, mass in (("source", self.source_NK), ("target", self.target_NM)):
            # `not (a >= b)` also catches NaN.
            if not bool((mass >= 0).all()):
                raise ValueError(f"the {side} has negative or undefined mass")
            if not bool(((mass.sum(dim=1) - 1).abs() <= 1e-4).all()):
                raise ValueError(f"the {side}'s rows do not sum to one")

    @property
    def num_samples(self) -> int:
        """N."""
        return self.source_NK.shape[0]

    @property
    def is_one_hot(self) -> bool:
        """Whether every target is a single class: the plan is unique then, and needs no solver."""
        return bool((self.target_NM.amax(dim=1) == 1).all())

    @property
    def independent_cost(self) -> Tensor:
        """Cost of the independent coupling of the mean masses, p_mean' C q_mean, a scalar."""
        return self.source_NK.mean(dim=0) @ self.cost_KM @ self.target_NM.mean(dim=0)

    def rows(self, index: Tensor | slice) -> TransportProblem:
        """Some of the N problems, chosen by an index or a boolean mask."""
        return TransportProblem(self.source_NK[index], self.target_NM[index], self.cost_KM)

    def in_float64(self) -> TransportProblem:
        """The same problem in float64 with rows that sum to one exactly (to rounding)."""
        source_NK, target_NM = self.source_NK.double(), self.target_NM.double()
        return TransportProblem(
            source_NK / source_NK.sum(dim=1, keepdim=True),
            target_NM / target_NM.sum(dim=1, keepdim=True),
            self.cost_KM.double(),
        )
