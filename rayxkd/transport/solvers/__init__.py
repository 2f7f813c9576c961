"""Solvers of a :class:`TransportProblem`, and the front door that picks one."""

from __future__ import annotations

import torch

from rayxkd.errors import unknown_name
from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.solvers.closed_form import has_closed_form, solve_closed_form
from rayxkd.transport.solvers.exact import solve_exact
from rayxkd.transport.solvers.partial import part_of, whole_problem
from rayxkd.transport.solvers.resolved import resolve_exactly
from rayxkd.transport.solvers.sinkhorn import SinkhornSettings, default_epsilon, solve_sinkhorn

__all__ = [
    "METHODS",
    "SinkhornSettings",
    "default_epsilon",
    "solve",
    "solve_closed_form",
    "solve_exact",
    "solve_sinkhorn",
]

METHODS = ("auto", "closed_form", "truncated", "exact", "sinkhorn")
# Where the classes that matter are this few, their linear programme is faster than iterating.
_SMALL_SUPPORT = 16
# The choice looks at this many samples.
_LOOKED_AT = 256


def solve(
    problem: TransportProblem,
    method: str = "auto",
    *,
    epsilon: float | None = None,
    truncation: float = 1e-3,
    tolerance: float = 1e-3,
    max_iterations: int = 10_000,
    chunk: int | None = None,
    dtype: torch.dtype | None = None,
) -> TransportOutput:
    """Solve N transport problems with one ground cost; CPU and GPU choose alike.

    Args:
        problem: the samples.
        method: the output says which one it was.
            ``"closed_form"``: one-hot targets; exact.
            ``"exact"``: the linear programme.
            ``"truncated"``: the linear programme on the classes that hold 1 - ``truncation`` of
            a sample's mass, all others moving alike; the error is bounded.
            ``"sinkhorn"``: entropic; the cost is that of a rounded plan.
            ``"auto"``: the closed form where there is one; else ``"truncated"`` where the median
            sample has that mass on a few classes and no epsilon is asked for; else
            ``"sinkhorn"``, and the linear programme for samples that do not converge.
        epsilon: entropic regularisation in units of the cost; see :func:`default_epsilon`.
        truncation: share of a sample's mass.
        tolerance: marginal error at which a sample has converged, for ``"sinkhorn"``.
        max_iterations: see :class:`SinkhornSettings`.
        chunk: samples that ``"sinkhorn"`` works on at once; memory grows with it, not with N.
        dtype: see :class:`SinkhornSettings`.

    Raises:
        UserError: no such method.
        ValueError: a method that cannot solve the problem, or a number out of its range.
    """
    if method not in METHODS:
        raise unknown_name("transport method", method, METHODS)
    chosen = _choose(problem, epsilon, truncation) if method == "auto" else method
    if chosen == "closed_form":
        return solve_closed_form(problem)
    whole = whole_problem(problem) if problem.is_partial else problem
    if chosen == "sinkhorn":
        epsilon = default_epsilon(problem.cost_KM) if epsilon is None else epsilon
        settings = SinkhornSettings(epsilon, tolerance, max_iterations, chunk, dtype)
        output: TransportOutput = solve_sinkhorn(whole, settings)
    else:
        output = solve_exact(whole, truncation if chosen == "truncated" else 0.0)
    if method == "auto" and not output.converged and problem.is_balanced:
        output = resolve_exactly(output)
    return part_of(problem, output) if problem.is_partial else output


def _choose(problem: TransportProblem, epsilon: float | None, truncation: float) -> str:
    if has_closed_form(problem):
        return "closed_form"
    if epsilon is not None or not problem.is_balanced:
        return "sinkhorn"
    source_BK = problem.source_NK[:_LOOKED_AT].double()
    # Whether a few classes hold the mass: without the heaviest, only the tail may be left.
    heaviest_BS = source_BK.topk(min(_SMALL_SUPPORT, source_BK.shape[1]), dim=1).indices
    is_small_B = source_BK.scatter(1, heaviest_BS, 0.0).sum(dim=1) <= truncation
    return "truncated" if 2 * int(is_small_B.sum()) >= len(is_small_B) else "sinkhorn"
