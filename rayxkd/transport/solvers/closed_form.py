"""One-hot targets: all mass goes to one class, so the plan is unique."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem


@dataclass(frozen=True)
class ClosedFormOutput(TransportOutput):
    """The unique plan: the source row in the column of the target class."""

    @property
    def method(self) -> str:
        """Name of the solver."""
        return "closed_form"

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        return torch.outer(self.problem.source_NK[sample], self.problem.target_NM[sample])

    def transport_map(self) -> Tensor:
        """See :meth:`TransportOutput.transport_map`; one matrix product."""
        return self.problem.source_NK.T @ self.problem.target_NM / self.problem.num_samples


def solve_closed_form(problem: TransportProblem) -> ClosedFormOutput:
    """sum_k p_ik C[k, y_i] for every sample; exact.

    Raises:
        ValueError: a target that is not one-hot.
    """
    if not problem.is_one_hot:
        raise ValueError("the closed form needs one-hot targets")
    expected_NM = problem.source_NK @ problem.cost_KM
    cost_N = expected_NM.gather(1, problem.target_NM.argmax(dim=1, keepdim=True)).squeeze(1)
    everything = torch.ones_like(cost_N, dtype=torch.bool)
    return ClosedFormOutput(problem, cost_N, everything, torch.zeros_like(cost_N))
