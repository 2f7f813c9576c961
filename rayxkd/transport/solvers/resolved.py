"""What one solver left unfinished, finished by another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import Tensor

from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.solvers.exact import solve_exact


@dataclass(frozen=True)
class ResolvedOutput(TransportOutput):
    """Two answers in one: most samples by the first solver, the rest by the second.

    Attributes:
        first: the answer for all samples.
        second: the answer for the rest, in their order.
        rest_N: which samples are the rest, bool.
    """

    first: TransportOutput
    second: TransportOutput
    rest_N: Tensor

    @property
    def method(self) -> str:
        """Name of the first solver; ``solved_by`` has both."""
        return self.first.method

    def count_ways(self, chosen_N: Tensor) -> Counter[str]:
        """See :meth:`TransportOutput.count_ways`."""
        first = self.first.count_ways(chosen_N & ~self.rest_N)
        return first + self.second.count_ways(chosen_N[self.rest_N])

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        if not self.rest_N[sample]:
            return self.first.plan(sample)
        return self.second.plan(int(self.rest_N[:sample].sum()))


def resolve_exactly(output: TransportOutput) -> TransportOutput:
    """Solve the samples that have not converged by the linear programme."""
    rest_N = ~output.converged_N
    problem = output.problem
    rest = TransportProblem(problem.source_NK[rest_N], problem.target_NM[rest_N], problem.cost_KM)
    second = solve_exact(rest)
    merged = {
        name: _merge(getattr(output, name), getattr(second, name), rest_N)
        for name in ("cost_N", "converged_N", "marginal_error_N", "potential_NM")
    }
    return ResolvedOutput(problem, **merged, first=output, second=second, rest_N=rest_N)


def _merge(usual: Tensor, rest: Tensor, rest_N: Tensor) -> Tensor:
    merged = usual.clone()
    merged[rest_N] = rest
    return merged
