"""Solvers of a :class:`TransportProblem`, and the front door that picks one."""

from __future__ import annotations

from rayxkd.errors import unknown_name
from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.solvers.closed_form import solve_closed_form
from rayxkd.transport.solvers.exact import solve_exact
from rayxkd.transport.solvers.sinkhorn import solve_sinkhorn

__all__ = ["METHODS", "solve", "solve_closed_form", "solve_exact", "solve_sinkhorn"]

METHODS = ("auto", "closed_form", "sinkhorn", "exact")


def solve(
    problem: TransportProblem, method: str = "auto", *, epsilon: float | None = None
) -> TransportOutput:
    """Solve N transport problems with one ground cost.

    Args:
        problem: the samples.
        method: ``"auto"`` takes the closed form for one-hot targets, else the exact solver;
            the others name a solver. The output says which one it was.
        epsilon: entropic regularisation for ``"sinkhorn"``, in units of the cost.

    Raises:
        UserError: no such method.
        ValueError: ``"closed_form"`` with targets that are not one-hot; epsilon not positive.
    """
    if method not in METHODS:
        raise unknown_name("transport method", method, METHODS)
    if method == "auto":
        method = "closed_form" if problem.is_one_hot else "exact"
    if method == "closed_form":
        return solve_closed_form(problem)
    if method == "sinkhorn":
        return solve_sinkhorn(problem, epsilon=epsilon)
    return solve_exact(problem)
