"""The entropic transport cost as a differentiable function, by the envelope theorem.

Legend: N samples, K source classes, M target classes.

For every sample

    W = min_T <T, C> + epsilon KL(T | p (x) q) + rho_s KL(T 1 | p) + rho_t KL(T' 1 | q),

a penalty rho being infinite where the marginal must be met. At the optimum its gradients are read
off the dual potentials and the plan: for marginals that must be met dW/dp = f, dW/dq = g and
dW/dC = T (Danskin's theorem; Feydy et al. 2019, https://arxiv.org/abs/1810.08278). Nothing is
unrolled: memory does not grow with the iterations.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rayxkd.transport.certificate import weighted_worth, worth
from rayxkd.transport.reduction import ReducedCost, reduced, unreduced
from rayxkd.transport.solvers.scaling import (
    FLOAT32_TOLERANCE,
    FLOAT64_RANGE,
    Relaxation,
    columns_of,
    errors_of,
    iterate_kernel,
    iterate_log_domain,
    log_columns_of,
    log_rows_of,
    scaled,
)

# Lower than for costs alone: nothing goes on in float64 what leaves the range of float32.
_FLOAT32_RANGE = 60.0


class EntropicTransport(NamedTuple):
    """Values and dual potentials of N samples.

    Attributes:
        value_N: W; differentiable in p, q and C.
        source_potential_NK: f, finite at classes without mass too.
        target_potential_NM: g, likewise.
        marginal_error_N: how far the plan is from its fixed point: a sample has converged if this
            is at most the tolerance.
    """

    value_N: Tensor
    source_potential_NK: Tensor
    target_potential_NM: Tensor
    marginal_error_N: Tensor


def entropic_transport(
    source_NK: Tensor,
    target_NM: Tensor,
    cost_KM: Tensor,
    *,
    epsilon: float,
    source_penalty: float = math.inf,
    target_penalty: float = math.inf,
    tolerance: float = 1e-4,
    max_iterations: int = 1_000,
) -> EntropicTransport:
    """Entropic transport of N samples at one ground cost; only ``value_N`` has a gradient.

    Args:
        source_NK: p, rows sum to one; float32 or float64, and zeros are allowed.
        target_NM: q, likewise.
        cost_KM: ground cost, of the same dtype.
        epsilon: regularisation in units of the cost.
        source_penalty: rho_s, in units of the cost.
        target_penalty: rho_t.
        tolerance: marginal error at which a sample has converged.
        max_iterations: bound on the iterations.

    Raises:
        ValueError: a number that is not positive.
    """
    numbers = (epsilon, source_penalty, target_penalty, tolerance, max_iterations)
    if not all(number > 0 for number in numbers):
        raise ValueError(
            f"epsilon, penalties, tolerance and iterations must be positive: {numbers}"
        )
    return EntropicTransport(*_entropic_transport(source_NK, target_NM, cost_KM, *numbers))


@torch.library.custom_op("rayxkd::entropic_transport", mutates_args=())
def _entropic_transport(  # noqa: PLR0917 - the order of an operator's inputs is its schema
    source_NK: Tensor,
    target_NM: Tensor,
    cost_KM: Tensor,
    epsilon: float,
    source_penalty: float,
    target_penalty: float,
    tolerance: float,
    max_iterations: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    relaxation = Relaxation(source_penalty, target_penalty, epsilon)
    dtype = source_NK.dtype
    with torch.no_grad(), torch.autocast(source_NK.device.type, enabled=False):
        duals = _Duals.of(cost_KM, relaxation, dtype, tolerance)
        masses = (source_NK.to(duals.dtype), target_NM.to(duals.dtype))
        answer = duals.solve(*masses, tolerance, max_iterations)
    return tuple(part.to(dtype).contiguous() for part in answer)  # type: ignore[return-value]


@_entropic_transport.register_fake
def _(source_NK: Tensor, target_NM: Tensor, *_: Tensor | float) -> tuple[Tensor, ...]:
    value_N = source_NK.new_empty(source_NK.shape[0])
    return (
        value_N,
        torch.empty_like(source_NK),
        torch.empty_like(target_NM),
        torch.empty_like(value_N),
    )


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    source_NK, target_NM, cost_KM, epsilon, source_penalty, target_penalty, *_ = inputs
    _, f_NK, g_NM, _ = output
    ctx.save_for_backward(source_NK, target_NM, cost_KM, f_NK, g_NM)
    ctx.relaxation = Relaxation(source_penalty, target_penalty, epsilon)


def _backward(ctx: Any, weight_N: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    source_NK, target_NM, cost_KM, f_NK, g_NM = ctx.saved_tensors
    wanted_p, wanted_q, wanted_cost, *_rest = ctx.needs_input_grad
    relaxation = ctx.relaxation
    gradient_p = gradient_q = gradient_cost = None
    weight_N1 = weight_N[:, None]
    if wanted_p:
        gradient_p = weight_N1 * _gradient(f_NK, relaxation.source_penalty, relaxation.epsilon)
    if wanted_q:
        gradient_q = weight_N1 * _gradient(g_NM, relaxation.target_penalty, relaxation.epsilon)
    if wanted_cost:
        masses = (weight_N1 * source_NK, target_NM)
        gradient_cost = _sum_of_plans(masses, cost_KM, (f_NK, g_NM), relaxation.epsilon)
    return (gradient_p, gradient_q, gradient_cost, *[None] * 5)


_entropic_transport.register_autograd(_backward, setup_context=_keep_for_backward)


def _gradient(potential: Tensor, penalty: float, epsilon: float) -> Tensor:
    """Gradient in one marginal: the potential, or (rho + epsilon) (1 - exp(-potential / rho)).

    At the optimum of a relaxed marginal the plan's row over p is exp(-f / rho), so the terms of the
    penalty and of the regulariser add up to this.
    """
    return (1 + epsilon / penalty) * worth(potential, penalty)


def _sum_of_plans(
    masses: tuple[Tensor, Tensor],
    cost_KM: Tensor,
    potentials: tuple[Tensor, Tensor],
    epsilon: float,
) -> Tensor:
    """sum_i p_i exp((f_i + g_i - C) / epsilon) q_i, [K, M]: one matrix product.

    Potentials are split at a common offset, so that no factor leaves the range of float64.
    """
    f_NK, g_NM = (potential.double() for potential in potentials)
    f_K, g_M = f_NK.mean(dim=0), g_NM.mean(dim=0)
    u_NK = masses[0] * torch.exp((f_NK - f_K) / epsilon)
    v_NM = masses[1] * torch.exp((g_NM - g_M) / epsilon)
    kernel_KM = torch.exp((f_K[:, None] + g_M - cost_KM.double()) / epsilon)
    plans_KM: Tensor = kernel_KM * (u_NK.T @ v_NM)
    return plans_KM.to(cost_KM.dtype)


class _Duals:
    """The dual problem of many samples at one cost."""

    def __init__(self, cost: ReducedCost, relaxation: Relaxation, dtype: torch.dtype) -> None:
        self._cost_KM, self._row_K, self._column_M = (part.to(dtype) for part in cost)
        self._relaxation = relaxation
        self.dtype = dtype
        fits = float(cost.cost_KM.abs().max()) / relaxation.epsilon <= FLOAT64_RANGE
        self._kernel_KM = torch.exp(-self._cost_KM / relaxation.epsilon) if fits else None

    @classmethod
    def of(
        cls, cost_KM: Tensor, relaxation: Relaxation, dtype: torch.dtype, tolerance: float
    ) -> _Duals:
        """In float32 if the inputs are, and range and tolerance allow it; else in float64."""
        reduce = reduced if relaxation.is_balanced else unreduced
        cost = reduce(cost_KM.double())
        single = (
            dtype == torch.float32
            and tolerance >= FLOAT32_TOLERANCE
            and float(cost.cost_KM.abs().max()) <= _FLOAT32_RANGE * relaxation.epsilon
        )
        return cls(cost, relaxation, torch.float32 if single else torch.float64)

    def solve(
        self, source_NK: Tensor, target_NM: Tensor, tolerance: float, max_iterations: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values, both potentials, and marginal errors."""
        limits = {"tolerance": tolerance, "max_iterations": max_iterations}
        if self._kernel_KM is None:
            row_NK, column_NM, error_N = self._log_domain(source_NK, target_NM, limits)
        else:
            row_NK, column_NM, error_N = self._kernel(source_NK, target_NM, limits)
        relaxation = self._relaxation
        f_NK = self._row_K - relaxation.source_exponent * relaxation.epsilon * row_NK
        g_NM = self._column_M - relaxation.target_exponent * relaxation.epsilon * column_NM
        # The mass of exp((f + g - C) / epsilon) p q; one where the target must be met.
        excess_N = (target_NM * torch.expm1((1 - relaxation.target_exponent) * column_NM)).sum(1)
        source_N = weighted_worth(source_NK, f_NK, relaxation.source_penalty)
        value_N = source_N + weighted_worth(target_NM, g_NM, relaxation.target_penalty)
        return value_N - relaxation.epsilon * excess_N, f_NK, g_NM, error_N

    def _kernel(
        self, source_NK: Tensor, target_NM: Tensor, limits: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log(G v), log(G' u) and the marginal error, at the last scalings."""
        assert self._kernel_KM is not None
        kernel_KM, relaxation = self._kernel_KM, self._relaxation
        start_NM = (target_NM > 0).to(self.dtype)
        v_NM = iterate_kernel(source_NK, target_NM, kernel_KM, start_NM, relaxation, **limits)
        row_NK = v_NM @ kernel_KM.T
        u_NK = scaled(source_NK, row_NK.clone(), relaxation.source_exponent)
        column_NM, next_NM = columns_of(u_NK, target_NM, kernel_KM, relaxation)
        return row_NK.log(), column_NM.log(), errors_of(v_NM, next_NM, column_NM)

    def _log_domain(
        self, source_NK: Tensor, target_NM: Tensor, limits: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same where the kernel would underflow; one sample after another."""
        rows = [slice(i, i + 1) for i in range(len(source_NK))]
        parts = [self._one_in_log_domain(source_NK[i], target_NM[i], limits) for i in rows]
        row_NK, column_NM, error_N = (torch.cat(part) for part in zip(*parts, strict=True))
        return row_NK, column_NM, error_N

    def _one_in_log_domain(
        self, source_BK: Tensor, target_BM: Tensor, limits: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        cost_KM, relaxation = self._cost_KM, self._relaxation
        g_BM = iterate_log_domain(source_BK, target_BM, cost_KM, relaxation, **limits)
        row_BK, f_BK = log_rows_of(source_BK, g_BM, cost_KM, relaxation)
        column_BM, _, error_B = log_columns_of(f_BK, target_BM, cost_KM, g_BM, relaxation)
        return row_BK, column_BM, error_B
