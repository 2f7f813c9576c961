"""One-hot targets: all mass that moves goes to one class, so the plan has a closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.chunks import chunk_slices
from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.products import narrow_product


@dataclass(frozen=True)
class ClosedFormOutput(TransportOutput):
    """What moves of each source class, all of it to the sample's one target class."""

    @property
    def method(self) -> str:
        """Name of the solver."""
        return "closed_form"

    @property
    def lower_bound_N(self) -> Tensor:
        """See :attr:`TransportOutput.lower_bound_N`: the cost itself."""
        return self.cost_N

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        index = slice(sample, sample + 1)
        target_1M = self.problem.target_NM[index].double()
        return torch.outer(_moved(self.problem, index)[0], target_1M[0])

    def transport_map(self) -> Tensor:
        """See :meth:`TransportOutput.transport_map`; one matrix product a chunk."""
        total_KM = torch.zeros_like(self.problem.cost_KM, dtype=torch.float64)
        for chunk in chunk_slices(self.problem):
            total_KM += _moved(self.problem, chunk).T @ self.problem.target_NM[chunk].double()
        return total_KM / self.problem.num_samples


def has_closed_form(problem: TransportProblem) -> bool:
    """Whether the targets are one-hot and must be met."""
    return math.isinf(problem.target_penalty) and problem.is_one_hot


def solve_closed_form(problem: TransportProblem) -> ClosedFormOutput:
    """The exact cost of every sample.

    With y the target class: sum_k p_k C[k, y]. With a penalty rho of the source marginal it is
    -rho log sum_k p_k exp(-C[k, y] / rho); for the co-occurrence cost and rho = 1 that is the
    negative log of LEEP's predictor. With ``mass`` below one the cheapest classes move (ours).

    Raises:
        ValueError: a target that is not one-hot, or one that need not be met.
    """
    if not has_closed_form(problem):
        raise ValueError("the closed form needs one-hot targets that must be met")
    if problem.is_balanced and not problem.is_partial:
        cost_N = _expected_costs(problem)
    else:
        parts = [_relaxed_costs(problem, chunk) for chunk in chunk_slices(problem)]
        cost_N = torch.cat(parts)
    everything_N = torch.ones_like(cost_N, dtype=torch.bool)
    potential_NM = torch.where(problem.target_NM == 1, 0.0, -torch.inf).double()
    return ClosedFormOutput(problem, cost_N, everything_N, torch.zeros_like(cost_N), potential_NM)


def _expected_costs(problem: TransportProblem) -> Tensor:
    label_N1 = problem.target_NM.argmax(dim=1, keepdim=True)
    cost_KM = problem.cost_KM.double()
    parts = [
        narrow_product(problem.masses(chunk)[0], cost_KM).gather(1, label_N1[chunk])
        for chunk in chunk_slices(problem)
    ]
    return torch.cat(parts).squeeze(1)


def _relaxed_costs(problem: TransportProblem, index: slice) -> Tensor:
    cost_BK = _label_costs(problem, index)
    if problem.is_partial:
        return (_moved(problem, index) * cost_BK).sum(dim=1)
    rho = problem.source_penalty
    source_BK, _ = problem.masses(index)
    return -rho * torch.logsumexp(source_BK.log() - cost_BK / rho, dim=1)


def _moved(problem: TransportProblem, index: slice) -> Tensor:
    """The mass that leaves each source class, [B, K]."""
    source_BK, _ = problem.masses(index)
    if problem.is_partial:
        return _cheapest(source_BK, _label_costs(problem, index), problem.mass)
    if math.isinf(problem.source_penalty):
        return source_BK
    heights_BK = -_label_costs(problem, index) / problem.source_penalty
    return torch.softmax(source_BK.log() + heights_BK, dim=1)


def _cheapest(source_BK: Tensor, cost_BK: Tensor, mass: float) -> Tensor:
    """As much of each class as fits into ``mass`` when the cheapest go first."""
    order_BK = cost_BK.argsort(dim=1)
    sorted_BK = source_BK.gather(1, order_BK)
    before_BK = sorted_BK.cumsum(dim=1) - sorted_BK
    taken_BK = torch.minimum(sorted_BK, (mass - before_BK).clamp_min(0))
    return torch.zeros_like(source_BK).scatter(1, order_BK, taken_BK)


def _label_costs(problem: TransportProblem, index: slice) -> Tensor:
    """C[k, y] of every sample, [B, K]."""
    return problem.cost_KM.double().T[problem.target_NM[index].argmax(dim=1)]
