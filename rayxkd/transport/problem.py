"""N transport problems that share one ground cost: what a teacher says against what is true."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TransportProblem:
    """Move every row of ``source_NK`` to the same row of ``target_NM`` at cost ``cost_KM``.

    A sample's cost is the least, over plans T [K, M] that are not negative, of

        <T, C> + source_penalty KL(T 1 | p) + target_penalty KL(T' 1 | q)

    with KL(a | b) = sum a log(a / b) - a + b. An infinite penalty, the default, is a marginal that
    must be met; a finite one lets mass be destroyed and created (Chizat, Peyre, Schmitzer, Vialard
    2018, https://arxiv.org/abs/1607.05816), so that a teacher's mass on classes that have nothing
    to do with the task need not be moved. With ``mass`` below one only that share is moved, at
    least cost, and the rest of both sides stays where it is (partial transport; Caffarelli and
    McCann 2010).

    Attributes:
        source_NK: mass on the teacher's classes, not negative, rows sum to one; zeros are allowed.
        target_NM: mass on the target's classes, likewise.
        cost_KM: ground cost, finite.
        source_penalty: in units of the cost, above zero.
        target_penalty: likewise.
        mass: share of the mass that is moved, above 0 and at most 1.

    Raises:
        ValueError: shapes, signs, sums or values that make no transport problem.
    """

    source_NK: Tensor
    target_NM: Tensor
    cost_KM: Tensor
    source_penalty: float = math.inf
    target_penalty: float = math.inf
    mass: float = 1.0

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
        self._check_relaxation()

    def _check_relaxation(self) -> None:
        if not self.source_penalty > 0 or not self.target_penalty > 0:
            raise ValueError(
                f"penalties must be above zero, not {self.source_penalty}, {self.target_penalty}"
            )
        if not 0 < self.mass <= 1:
            raise ValueError(f"the mass to move must be above 0 and at most 1, not {self.mass}")
        if self.is_partial and not self.is_balanced:
            raise ValueError("either a part of the mass is moved, or marginals have penalties")

    @property
    def num_samples(self) -> int:
        """N."""
        return self.source_NK.shape[0]

    @property
    def is_one_hot(self) -> bool:
        """Whether every target is a single class: the plan has a closed form then."""
        return bool((self.target_NM.amax(dim=1) == 1).all())

    @property
    def is_balanced(self) -> bool:
        """Whether both marginals must be met (as far as mass is moved)."""
        return math.isinf(self.source_penalty) and math.isinf(self.target_penalty)

    @property
    def is_partial(self) -> bool:
        """Whether some mass stays where it is."""
        return self.mass < 1

    @property
    def independent_cost(self) -> Tensor:
        """Cost of the independent coupling of the mean masses, p_mean' C q_mean, a scalar."""
        return self.source_NK.mean(dim=0) @ self.cost_KM @ self.target_NM.mean(dim=0)

    def masses(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Source [B, K] and target [B, M] of some samples in float64, with rows that sum to one."""
        return _normalised(self.source_NK[index]), _normalised(self.target_NM[index])


def _normalised(mass: Tensor) -> Tensor:
    """In float64, divided by its row sums unless they are one already."""
    exact = mass.double()
    total_B1 = exact.sum(dim=1, keepdim=True)
    return exact if bool(((total_B1 - 1).abs() < 1e-14).all()) else exact / total_B1
