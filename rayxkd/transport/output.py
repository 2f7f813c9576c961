"""What a solver answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rayxkd.transport.certificate import dual_value
from rayxkd.transport.chunks import chunk_slices
from rayxkd.transport.problem import TransportProblem


@dataclass(frozen=True)
class TransportOutput(ABC):
    """The answer to a :class:`TransportProblem`.

    Attributes:
        problem: the problem that was solved.
        cost_N: the problem's objective at a plan that meets all that must be met, float64, one a
            sample: never below the true transport cost (up to rounding).
        converged_N: whether the solver met its tolerance for that sample, bool.
        marginal_error_N: sum of |row sum - p| + |column sum - q| of the solver's own plan, before
            it was rounded to meet the marginals; with penalties, the mass that a further
            iteration would move.
        potential_NM: dual potential g of the target classes, float64, in units of the cost; it
            certifies ``lower_bound_N``. -inf at classes without mass.
    """

    problem: TransportProblem
    cost_N: Tensor
    converged_N: Tensor
    marginal_error_N: Tensor
    potential_NM: Tensor

    @property
    @abstractmethod
    def method(self) -> str:
        """Name of the solver."""

    @abstractmethod
    def plan(self, sample: int) -> Tensor:
        """The plan of one sample, float64 [K, M]; its objective is the sample's cost."""

    @property
    def solved_by(self) -> Mapping[str, int]:
        """How many samples each way of solving answered."""
        return dict(+self.count_ways(torch.ones_like(self.converged_N)))

    def count_ways(self, chosen_N: Tensor) -> Counter[str]:
        """The same for some of the samples, chosen by a boolean mask."""
        return Counter({self.method: int(chosen_N.sum())})

    @property
    def cost(self) -> Tensor:
        """Mean transport cost over the samples, a scalar."""
        return self.cost_N.mean()

    @property
    def converged(self) -> bool:
        """Whether every sample converged."""
        return bool(self.converged_N.all())

    @cached_property
    def lower_bound_N(self) -> Tensor:
        """A certified lower bound on every sample's transport cost, float64.

        The value of the dual problem at the c-transform of ``potential_NM``: a proof that needs no
        trust in the solver.
        """
        problem = self.problem
        cost_KM = problem.cost_KM.double()
        parts = [
            dual_value(
                *problem.masses(chunk),
                cost_KM,
                self.potential_NM[chunk],
                source_penalty=problem.source_penalty,
                target_penalty=problem.target_penalty,
            )
            for chunk in chunk_slices(problem, cached=True)
        ]
        return torch.cat(parts)

    @property
    def gap_N(self) -> Tensor:
        """How far each cost may lie above the true one at most: cost less its lower bound."""
        return self.cost_N - self.lower_bound_N

    def transport_map(self) -> Tensor:
        """The average plan over the samples, float64 [K, M], without holding N plans."""
        total_KM = torch.zeros_like(self.problem.cost_KM, dtype=torch.float64)
        for sample in range(self.problem.num_samples):
            total_KM += self.plan(sample)
        return total_KM / self.problem.num_samples


@dataclass(frozen=True)
class ClassPair:
    """A teacher class and a target class, with the mass that flows between them.

    Attributes:
        source: name of the teacher class.
        target: name of the target class.
        mass: share of all mass, from 0 to 1.
        cost: ground cost of moving one unit of it.
    """

    source: str
    target: str
    mass: float
    cost: float


def top_pairs(
    map_KM: Tensor,
    cost_KM: Tensor,
    source_names: Sequence[str],
    target_names: Sequence[str],
    count: int = 10,
) -> list[ClassPair]:
    """The pairs of classes that carry the most mass of a transport map, the heaviest first.

    Args:
        map_KM: from :meth:`TransportOutput.transport_map`.
        cost_KM: the ground cost.
        source_names: K names.
        target_names: M names.
        count: how many, at most; pairs without mass are never listed.

    Raises:
        ValueError: names that do not fit the map.
    """
    if map_KM.shape != (len(source_names), len(target_names)) or cost_KM.shape != map_KM.shape:
        raise ValueError(
            f"{len(source_names)} x {len(target_names)} names do not fit a map of "
            f"{tuple(map_KM.shape)} and a cost of {tuple(cost_KM.shape)}"
        )
    mass_P, place_P = map_KM.flatten().topk(min(count, map_KM.numel()))
    pairs = []
    for mass, place in zip(mass_P.tolist(), place_P.tolist(), strict=True):
        if mass > 0:
            k, m = divmod(place, len(target_names))
            pairs.append(ClassPair(source_names[k], target_names[m], mass, float(cost_KM[k, m])))
    return pairs
