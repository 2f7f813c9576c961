"""Entropic transport of many samples with one ground cost, in the precision that it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rayxkd.transport.chunks import chunk_slices
from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.reduction import reduced, unreduced
from rayxkd.transport.solvers.plans import (
    FactoredPlans,
    factored_plans,
    log_domain_plans,
    penalties,
)
from rayxkd.transport.solvers.scaling import (
    FLOAT32_TOLERANCE,
    FLOAT64_RANGE,
    Relaxation,
    iterate_kernel,
    iterate_log_domain,
)

# What leaves the range of float32 all the same goes on in float64.
_FLOAT32_RANGE = 80.0
# Bound on the B x K x M numbers that the log domain holds at once (64 MiB an array).
_PLAN_ENTRIES = 8 * 1024 * 1024


@dataclass(frozen=True)
class SinkhornSettings:
    """How the entropic problem is solved.

    Attributes:
        epsilon: regularisation in units of the cost.
        tolerance: a sample has converged when its marginal error is below this.
        max_iterations: bound on the iterations of a sample in each precision.
        chunk: samples at once; ``None`` for what suits the processor.
        dtype: of the iterations; ``None`` takes float32 while range(C) / epsilon and the
            tolerance allow it, float64 above. Costs and potentials are float64 in any case.

    Raises:
        ValueError: a number that is not positive, or another dtype.
    """

    epsilon: float
    tolerance: float = 1e-3
    max_iterations: int = 10_000
    chunk: int | None = None
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        if not self.epsilon > 0 or not self.tolerance > 0 or self.max_iterations < 1:
            raise ValueError(
                f"epsilon {self.epsilon}, tolerance {self.tolerance} and max_iterations "
                f"{self.max_iterations} must be positive"
            )
        if self.dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"iterations run in float32 or float64, not {self.dtype}")


@dataclass(frozen=True)
class SinkhornOutput(TransportOutput):
    """Entropic plans, rounded so that they meet both marginals.

    Attributes:
        epsilon: the entropic regularisation, in units of the ground cost.
        log_domain_N: which samples needed the log domain, bool.
    """

    epsilon: float
    log_domain_N: Tensor
    _workshop: _Workshop = field(repr=False)

    @property
    def method(self) -> str:
        """Name of the solver."""
        return "sinkhorn"

    def count_ways(self, chosen_N: Tensor) -> Counter[str]:
        """See :meth:`TransportOutput.count_ways`: ``sinkhorn``, or ``log_domain``."""
        count = int((chosen_N & self.log_domain_N).sum())
        return Counter({"sinkhorn": int(chosen_N.sum()) - count, "log_domain": count})

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        index = slice(sample, sample + 1)
        g_BM = self.potential_NM[index]
        plan_1KM, _ = self._workshop.log_plans(*self.problem.masses(index), g_BM)
        return plan_1KM[0]

    def transport_map(self) -> Tensor:
        """See :meth:`TransportOutput.transport_map`; two matrix products a chunk."""
        total_KM = torch.zeros_like(self._workshop.cost_KM)
        for chunk in chunk_slices(self.problem):
            masses, g_BM = self.problem.masses(chunk), self.potential_NM[chunk]
            total_KM += self._workshop.sum_of_plans(*masses, g_BM, self.log_domain_N[chunk])
        return total_KM / self.problem.num_samples


def default_epsilon(cost_KM: Tensor) -> float:
    """0.02 of the median height of C above its least entry (ours).

    Within 0.5 % of the exact cost on average for the predictions of real teachers. Plans do not
    change with a constant added to C, so heights count, not entries. A constant cost gives 1.0:
    every plan is optimal then.
    """
    height_KM = cost_KM - cost_KM.min()
    height = float(height_KM.median()) or float(height_KM.max())
    return 0.02 * height if height > 0 else 1.0


def solve_sinkhorn(problem: TransportProblem, settings: SinkhornSettings) -> SinkhornOutput:
    """Solve every sample with entropic regularisation.

    The iterations run in float32 where that is safe, else in float64, else (range(C) / epsilon
    above 300, or a sample whose scalings leave the range of numbers) in the log domain. The cost
    is that of a plan that meets the marginals, in float64.
    """
    workshop = _Workshop.of(problem, settings)
    parts = []
    for chunk in chunk_slices(problem, settings.chunk):
        parts.append(workshop.solve(*problem.masses(chunk)))
    cost, error, potential, in_log_domain = (torch.cat(part) for part in zip(*parts, strict=True))
    return SinkhornOutput(
        problem,
        cost,
        error <= settings.tolerance,
        error,
        potential,
        settings.epsilon,
        in_log_domain,
        workshop,
    )


@dataclass(frozen=True)
class _Workshop:
    """What all chunks share: the cost less what plans do not depend on, and its kernel.

    Potentials that come in and go out belong to the whole cost; inside, they are those of the
    reduced cost.
    """

    cost_KM: Tensor
    reduced_KM: Tensor
    column_M: Tensor
    relaxation: Relaxation
    settings: SinkhornSettings
    kernel_KM: Tensor | None
    iterated_in: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, problem: TransportProblem, settings: SinkhornSettings) -> _Workshop:
        cost_KM = problem.cost_KM.double()
        relaxation = Relaxation(problem.source_penalty, problem.target_penalty, settings.epsilon)
        reduce = reduced if relaxation.is_balanced else unreduced
        reduced_KM, _, column_M = reduce(cost_KM)
        height = float(reduced_KM.abs().max()) / settings.epsilon
        kernel_KM = torch.exp(-reduced_KM / settings.epsilon) if height <= FLOAT64_RANGE else None
        return cls(
            cost_KM,
            reduced_KM,
            column_M,
            relaxation,
            settings,
            kernel_KM,
            _precisions(height, settings),
        )

    def solve(self, source_BK: Tensor, target_BM: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Costs [B], marginal errors [B], target potentials [B, M], and who needed the log domain.

        A sample that has not converged in one precision goes on in the next one.
        """
        v_BM = (target_BM > 0).double()
        rest_B = torch.ones_like(source_BK[:, 0], dtype=torch.bool)
        cost_B, error_B = torch.full_like(v_BM[:, 0], torch.nan), torch.ones_like(v_BM[:, 0])
        for dtype in self.iterated_in:
            masses = (source_BK[rest_B], target_BM[rest_B])
            found_BM = self._iterate(*masses, v_BM[rest_B], dtype)
            v_BM[rest_B] = found_BM
            cost_B[rest_B], error_B[rest_B] = self._evaluate(*masses, found_BM)
            rest_B = ~(error_B <= self.settings.tolerance)
            if not rest_B.any():
                break
        epsilon = self.settings.epsilon
        g_BM = epsilon * v_BM.log() + self.column_M
        # What could not even be written as numbers, and costs that no kernel can hold.
        rest_B = ~torch.isfinite(cost_B) | ~torch.isfinite(error_B)
        for index in self._few(rest_B.nonzero().squeeze(1)):
            cost_B[index], error_B[index], g_BM[index] = self._solve_in_log_domain(
                source_BK[index], target_BM[index]
            )
        return cost_B, error_B, g_BM, rest_B

    def sum_of_plans(
        self, source_BK: Tensor, target_BM: Tensor, g_BM: Tensor, log_domain_B: Tensor
    ) -> Tensor:
        """The sum of all samples' plans, [K, M]."""
        total_KM = torch.zeros_like(self.cost_KM)
        usual = (~log_domain_B).nonzero().squeeze(1)
        if len(usual):
            v_BM = torch.exp((g_BM[usual] - self.column_M) / self.settings.epsilon)
            total_KM += self._factored(source_BK[usual], target_BM[usual], v_BM).sum()
        for index in self._few(log_domain_B.nonzero().squeeze(1)):
            plan_BKM, _ = self.log_plans(source_BK[index], target_BM[index], g_BM[index])
            total_KM += plan_BKM.sum(dim=0)
        return total_KM

    def log_plans(
        self, source_BK: Tensor, target_BM: Tensor, g_BM: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :func:`log_domain_plans`."""
        reduced_BM = g_BM - self.column_M
        return log_domain_plans(source_BK, target_BM, self.reduced_KM, reduced_BM, self.relaxation)

    def _iterate(
        self, source_BK: Tensor, target_BM: Tensor, v_BM: Tensor, dtype: torch.dtype
    ) -> Tensor:
        assert self.kernel_KM is not None
        start_BM = torch.where(torch.isfinite(v_BM), v_BM, (target_BM > 0).double())
        scalings_BM = iterate_kernel(
            source_BK.to(dtype),
            target_BM.to(dtype),
            self.kernel_KM.to(dtype),
            start_BM.to(dtype),
            self.relaxation,
            tolerance=self.settings.tolerance,
            max_iterations=self.settings.max_iterations,
        )
        return scalings_BM.double()

    def _factored(self, source_BK: Tensor, target_BM: Tensor, v_BM: Tensor) -> FactoredPlans:
        assert self.kernel_KM is not None
        return factored_plans(source_BK, target_BM, self.kernel_KM, v_BM, self.relaxation)

    def _evaluate(
        self, source_BK: Tensor, target_BM: Tensor, v_BM: Tensor
    ) -> tuple[Tensor, Tensor]:
        plans = self._factored(source_BK, target_BM, v_BM)
        cost_B = plans.costs(self.cost_KM)
        if not self.relaxation.is_balanced:
            marginals = (plans.rows(), plans.columns(), source_BK, target_BM)
            cost_B = cost_B + penalties(*marginals, self.relaxation)
        return cost_B, plans.error_B

    def _solve_in_log_domain(
        self, source_BK: Tensor, target_BM: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        g_BM = iterate_log_domain(
            source_BK,
            target_BM,
            self.reduced_KM,
            self.relaxation,
            tolerance=self.settings.tolerance,
            max_iterations=self.settings.max_iterations,
        )
        g_BM = g_BM + self.column_M
        plan_BKM, error_B = self.log_plans(source_BK, target_BM, g_BM)
        cost_B = torch.einsum("bkm,km->b", plan_BKM, self.cost_KM)
        marginals = (plan_BKM.sum(dim=2), plan_BKM.sum(dim=1), source_BK, target_BM)
        return cost_B + penalties(*marginals, self.relaxation), error_B, g_BM

    def _few(self, places: Tensor) -> Iterator[Tensor]:
        size = max(1, _PLAN_ENTRIES // self.cost_KM.numel())
        for start in range(0, len(places), size):
            yield places[start : start + size]


def _precisions(height: float, settings: SinkhornSettings) -> tuple[torch.dtype, ...]:
    """In which precisions the kernel is iterated: each for what has not converged in the last."""
    if height > FLOAT64_RANGE:
        return ()
    if settings.dtype is not None:
        return (settings.dtype,)
    if height <= _FLOAT32_RANGE and settings.tolerance >= FLOAT32_TOLERANCE:
        return (torch.float32, torch.float64)
    return (torch.float64,)
