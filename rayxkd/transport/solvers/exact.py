"""The linear programme itself, one sample at a time, by POT's network simplex."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import ot
import torch
from torch import Tensor

from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem

_MAX_PIVOTS = 10_000_000


@dataclass(frozen=True)
class ExactOutput(TransportOutput):
    """Optimal vertices: at most K + M - 1 entries of a plan are not zero, and only those are kept.

    Attributes:
        entries: per sample the indices [2, S] and the mass [S] of the plan.
    """

    entries: tuple[tuple[Tensor, Tensor], ...]

    @property
    def method(self) -> str:
        """Name of the solver."""
        return "exact"

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        index_2S, mass_S = self.entries[sample]
        plan_KM = torch.zeros_like(self.problem.cost_KM)
        plan_KM[index_2S[0], index_2S[1]] = mass_S.to(plan_KM)
        return plan_KM


def solve_exact(problem: TransportProblem) -> ExactOutput:
    """Solve every sample exactly in float64 on the CPU (POT ``ot.emd``)."""
    exact = problem.in_float64()
    cost_KM = np.ascontiguousarray(exact.cost_KM.numpy(force=True))
    costs, converged, errors, entries = [], [], [], []
    for p, q in zip(
        exact.source_NK.numpy(force=True), exact.target_NM.numpy(force=True), strict=True
    ):
        plan_KM, finished = _vertex(p, q, cost_KM)
        rows, columns = np.nonzero(plan_KM)
        mass = plan_KM[rows, columns]
        costs.append(float(mass @ cost_KM[rows, columns]))
        converged.append(finished)
        row_error = np.abs(plan_KM.sum(axis=1) - p).sum()
        errors.append(float(row_error + np.abs(plan_KM.sum(axis=0) - q).sum()))
        entries.append((torch.from_numpy(np.stack([rows, columns])), torch.from_numpy(mass)))
    device = problem.cost_KM.device
    return ExactOutput(
        exact,
        torch.tensor(costs, dtype=torch.float64, device=device),
        torch.tensor(converged, device=device),
        torch.tensor(errors, dtype=torch.float64, device=device),
        tuple(entries),
    )


def _vertex(p: np.ndarray, q: np.ndarray, cost_KM: np.ndarray) -> tuple[np.ndarray, bool]:
    """The optimal plan of one sample, and whether the simplex says that it is optimal."""
    # Classes without mass only cost pivots.
    rows, columns = np.flatnonzero(p), np.flatnonzero(q)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT warns where we report `converged`
        inner, log = ot.emd(
            p[rows],
            q[columns],
            np.ascontiguousarray(cost_KM[np.ix_(rows, columns)]),
            numItermax=_MAX_PIVOTS,
            log=True,
        )
    plan_KM = np.zeros_like(cost_KM)
    plan_KM[np.ix_(rows, columns)] = inner
    return plan_KM, log["warning"] is None
