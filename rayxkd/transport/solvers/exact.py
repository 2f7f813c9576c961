"""The linear programme itself, one sample at a time, by POT's network simplex."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayxkd.transport.chunks import chunk_slices
from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.products import narrow_product
from rayxkd.transport.reduction import reduced

_MAX_PIVOTS = 10_000_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExactOutput(TransportOutput):
    """Optimal vertices: few entries of a plan are not zero, and only those are kept.

    With ``truncation`` the programme of a sample has a row for each of the classes that hold
    1 - truncation of its mass, and one for all the others together, which move alike. Its plan
    meets the marginals, so its cost is an upper bound; see :attr:`truncation_bound_N`.

    Attributes:
        truncation: share of a sample's mass that may move alike; 0 for the exact cost.
        entries: per sample the indices [2, S] and the mass [S] of the plan; row K is the others'.
    """

    truncation: float
    entries: tuple[tuple[Tensor, Tensor], ...]

    @property
    def method(self) -> str:
        """Name of the solver."""
        return "truncated" if self.truncation else "exact"

    @cached_property
    def truncation_bound_N(self) -> Tensor:
        """How far each cost may lie above the exact one at most, float64 (ours).

        Moving the other classes alike instead of each in its best way costs at most
        sum_k p_k (max_m C[k, m] - min_m C[k, m]) over them.
        """
        cost_KM = self.problem.cost_KM.double()
        spread_K = cost_KM.amax(dim=1) - cost_KM.amin(dim=1)
        parts = [
            _tail(self.problem.masses(chunk)[0], self.truncation) @ spread_K
            for chunk in chunk_slices(self.problem)
        ]
        return torch.cat(parts)

    @cached_property
    def lower_bound_N(self) -> Tensor:
        """See :attr:`TransportOutput.lower_bound_N`; or from the truncation, if that is closer."""
        certified_N = super().lower_bound_N
        if not self.truncation:
            return certified_N
        return torch.maximum(certified_N, self.cost_N - self.truncation_bound_N)

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        index_2S, mass_S = self.entries[sample]
        num_source, num_target = self.problem.cost_KM.shape
        plan_KM = mass_S.new_zeros(num_source + 1, num_target)
        plan_KM[index_2S[0], index_2S[1]] = mass_S
        others_M = plan_KM[-1]
        if others_M.any():
            source_1K, _ = self.problem.masses(slice(sample, sample + 1))
            tail_K = _tail(source_1K, self.truncation)[0].to(others_M)
            plan_KM[:-1] += torch.outer(tail_K / tail_K.sum(), others_M)
        return plan_KM[:-1].to(self.problem.cost_KM.device)


def solve_exact(problem: TransportProblem, truncation: float = 0.0) -> ExactOutput:
    """Solve every sample in float64 on the CPU (POT ``ot.emd``).

    Args:
        problem: the samples; both marginals must be met.
        truncation: see :class:`ExactOutput`.

    Raises:
        ValueError: a truncation that is no share, or marginals with penalties, which make no
            linear programme.
    """
    if not 0 <= truncation < 1:
        raise ValueError(f"the truncation is a share of the mass, not {truncation}")
    if not problem.is_balanced:
        raise ValueError("marginals with penalties make no linear programme: use 'sinkhorn'")
    conditioned = _Conditioned.of(problem.cost_KM.double())
    parts, vertices = [], []
    for chunk in chunk_slices(problem):
        source_BK, target_BM = problem.masses(chunk)
        tail_BK = _tail(source_BK, truncation)
        kept = (
            source_BK - tail_BK,
            target_BM,
            tail_BK.sum(dim=1),
            narrow_product(tail_BK, conditioned.cost_KM),
        )
        p, q, tail, others = (part.numpy(force=True) for part in kept)
        found = [_vertex(p[i], q[i], tail[i], others[i], conditioned.array) for i in range(len(p))]
        cost_B = target_BM.new_tensor([vertex.cost for vertex in found])
        parts.append(conditioned.whole_cost(cost_B, source_BK, target_BM))
        vertices += found
    device = problem.cost_KM.device
    potential_NM = torch.from_numpy(np.stack([vertex.potential_M for vertex in vertices]))
    return ExactOutput(
        problem,
        torch.cat(parts),
        torch.tensor([vertex.optimal for vertex in vertices], device=device),
        torch.tensor([vertex.error for vertex in vertices], dtype=torch.float64, device=device),
        conditioned.whole_potential(potential_NM.to(device)),
        truncation,
        tuple((vertex.index_2S, vertex.mass_S) for vertex in vertices),
    )


@dataclass(frozen=True)
class _Conditioned:
    """C = scale x conditioned + row minima + column minima, entries from 0 to 1.

    Plans do not change, and POT's simplex, whose tolerances are absolute, is wrong on costs that
    are negative or tiny.
    """

    cost_KM: Tensor
    scale: float
    row_K: Tensor
    column_M: Tensor

    @classmethod
    def of(cls, cost_KM: Tensor) -> _Conditioned:
        reduced_KM, row_K, column_M = reduced(cost_KM)
        scale = float(reduced_KM.max()) or 1.0
        return cls((reduced_KM / scale).clamp_min(0), scale, row_K, column_M)

    @cached_property
    def array(self) -> Array:
        return np.ascontiguousarray(self.cost_KM.numpy(force=True))

    def whole_cost(self, cost_B: Tensor, source_BK: Tensor, target_BM: Tensor) -> Tensor:
        return self.scale * cost_B + source_BK @ self.row_K + target_BM @ self.column_M

    def whole_potential(self, potential_NM: Tensor) -> Tensor:
        return self.scale * potential_NM + self.column_M


def _tail(source_BK: Tensor, truncation: float) -> Tensor:
    """The mass of the lightest classes that hold at most ``truncation`` together, else zero."""
    if not truncation:  # classes without mass: a tail of zero
        return torch.zeros_like(source_BK)
    sorted_BK, order_BK = source_BK.sort(dim=1)
    light_BK = sorted_BK.cumsum(dim=1) <= truncation
    return torch.zeros_like(source_BK).scatter(1, order_BK, sorted_BK * light_BK)


@dataclass(frozen=True)
class _Vertex:
    cost: float
    optimal: bool
    error: float
    potential_M: Array
    index_2S: Tensor
    mass_S: Tensor


def _vertex(p: Array, q: Array, tail: np.float64, others_M: Array, cost_KM: Array) -> _Vertex:
    """The optimal plan of one sample; the tail is a row of its own, behind all classes."""
    import ot  # it brings scikit-learn, which takes as long to import as torch

    # Classes without mass only cost pivots.
    rows, columns = np.flatnonzero(p), np.flatnonzero(q)
    mass, height = p[rows], cost_KM[np.ix_(rows, columns)]
    if tail > 0:
        rows = np.append(rows, len(p))
        mass = np.append(mass, tail)
        height = np.vstack([height, others_M[columns] / tail])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT warns where we report `converged`
        plan, log = ot.emd(
            mass,
            q[columns],
            np.ascontiguousarray(height),
            numItermax=_MAX_PIVOTS,
            log=True,
            center_dual=False,
        )
    potential_M = np.full(len(q), -np.inf)
    potential_M[columns] = log["v"]
    entries = np.nonzero(plan)
    error = np.abs(plan.sum(axis=1) - mass).sum() + np.abs(plan.sum(axis=0) - q[columns]).sum()
    return _Vertex(
        float((plan * height).sum()),
        log["warning"] is None,
        float(error),
        potential_M,
        torch.from_numpy(np.stack([rows[entries[0]], columns[entries[1]]])),
        torch.from_numpy(plan[entries]),
    )
