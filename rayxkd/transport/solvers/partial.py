"""Partial transport as a whole one: what does not move goes to a class that takes it for nothing.

Each side gets one more class with the mass that the other side leaves, at no cost; between the
two new classes moving is dearer than anything it could save. Masses are divided by 2 - s, so that
they sum to one again (Caffarelli and McCann 2010; Chapel, Alaya, Gasso 2020,
https://arxiv.org/abs/2002.08276).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem


@dataclass(frozen=True)
class PartialOutput(TransportOutput):
    """The plans without the class of what does not move.

    Attributes:
        whole: the answer to the problem with that class.
    """

    whole: TransportOutput

    @property
    def method(self) -> str:
        """Name of the solver."""
        return self.whole.method

    def count_ways(self, chosen_N: Tensor) -> Counter[str]:
        """See :meth:`TransportOutput.count_ways`."""
        return self.whole.count_ways(chosen_N)

    @property
    def lower_bound_N(self) -> Tensor:
        """See :attr:`TransportOutput.lower_bound_N`."""
        return self.whole.lower_bound_N * (2 - self.problem.mass)

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        return self.whole.plan(sample)[:-1, :-1] * (2 - self.problem.mass)

    def transport_map(self) -> Tensor:
        """See :meth:`TransportOutput.transport_map`."""
        return self.whole.transport_map()[:-1, :-1] * (2 - self.problem.mass)


def whole_problem(problem: TransportProblem) -> TransportProblem:
    """The problem with one more class on each side for what does not move."""
    rest, total = 1 - problem.mass, 2 - problem.mass
    cost_KM = torch.nn.functional.pad(problem.cost_KM, (0, 1, 0, 1))
    cost_KM[-1, -1] = 2 * float(problem.cost_KM.abs().max()) or 1.0
    return TransportProblem(
        torch.nn.functional.pad(problem.source_NK, (0, 1), value=rest) / total,
        torch.nn.functional.pad(problem.target_NM, (0, 1), value=rest) / total,
        cost_KM,
    )


def part_of(problem: TransportProblem, whole: TransportOutput) -> PartialOutput:
    """The answer to the partial problem, from that of :func:`whole_problem`."""
    total = 2 - problem.mass
    return PartialOutput(
        problem,
        whole.cost_N * total,
        whole.converged_N,
        whole.marginal_error_N * total,
        whole.potential_NM[:, :-1],
        whole,
    )
