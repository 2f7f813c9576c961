"""What a solver answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.problem import TransportProblem


@dataclass(frozen=True)
class TransportOutput(ABC):
    """The answer to a :class:`TransportProblem`.

    Attributes:
        problem: the problem that was solved.
        cost_N: cost <T, C> of a plan that meets both marginals, one a sample: never below the
            true transport cost (up to rounding).
        converged_N: whether the solver met its tolerance for that sample, bool.
        marginal_error_N: sum of |row sum - p| + |column sum - q| of the solver's own plan, before
            it was rounded to meet the marginals.
    """

    problem: TransportProblem
    cost_N: Tensor
    converged_N: Tensor
    marginal_error_N: Tensor

    @property
    @abstractmethod
    def method(self) -> str:
        """Name of the solver."""

    @property
    def cost(self) -> Tensor:
        """Mean transport cost over the samples, a scalar."""
        return self.cost_N.mean()

    @property
    def converged(self) -> bool:
        """Whether every sample converged."""
        return bool(self.converged_N.all())

    @abstractmethod
    def plan(self, sample: int) -> Tensor:
        """The transport plan of one sample, [K, M]; its row sums are p, its column sums q."""

    def transport_map(self) -> Tensor:
        """The average plan over the samples, [K, M], without holding N plans."""
        total_KM = torch.zeros_like(self.problem.cost_KM)
        for sample in range(self.problem.num_samples):
            total_KM += self.plan(sample)
        return total_KM / self.problem.num_samples
