"""Entropic transport of many samples with one ground cost: two matrix products an iteration.

Legend: N samples, B of them at once, K source classes, M target classes. With the Gibbs kernel
G = exp(-C / epsilon) the plan of a sample is diag(u) G diag(v), u = exp(f / epsilon) and
v = exp(g / epsilon) for dual potentials f, g; Cuturi 2013, https://arxiv.org/abs/1306.0895.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.output import TransportOutput
from rayxkd.transport.problem import TransportProblem

# Scalings reach exp(range / epsilon) and are multiplied in pairs: float64 holds exp(+-700).
_KERNEL_RANGE = 300.0
# Bound on the B x K x M numbers that the log domain and the rounding hold at once (256 MiB).
_PLAN_ENTRIES = 32 * 1024 * 1024
# Finished samples leave the batch this often; copying the rest costs about one iteration.
_COMPACT_EVERY = 10
# Iterations at each intermediate epsilon of the log domain: a rough start for the next is enough.
_SCALING_ITERATIONS = 20


@dataclass(frozen=True)
class SinkhornOutput(TransportOutput):
    """Entropic plans, rounded so that they meet both marginals.

    Attributes:
        epsilon: the entropic regularisation, in units of the ground cost.
        source_potential_NK: dual potential f of every sample; -inf where the source has no mass.
        target_potential_NM: dual potential g, likewise.
    """

    epsilon: float
    source_potential_NK: Tensor
    target_potential_NM: Tensor

    @property
    def method(self) -> str:
        """Name of the solver."""
        return "sinkhorn"

    def entropic_plan(self, sample: int) -> Tensor:
        """exp((f + g - C) / epsilon), [K, M]: meets the marginals up to ``marginal_error_N``."""
        f_K, g_M = self.source_potential_NK[sample], self.target_potential_NM[sample]
        return _plans(f_K[None], g_M[None], self.problem.cost_KM, self.epsilon)[0]

    def plan(self, sample: int) -> Tensor:
        """See :meth:`TransportOutput.plan`."""
        index = slice(sample, sample + 1)
        return round_to_marginals(
            self.entropic_plan(sample)[None],
            self.problem.source_NK[index],
            self.problem.target_NM[index],
        )[0]


def default_epsilon(cost_KM: Tensor) -> float:
    """0.01 of the median height of C above its least entry: within 1 % of the exact cost.

    Plans do not change with a constant added to C, so heights count, not entries. A constant cost
    gives 1.0: every plan is optimal then.
    """
    height_KM = cost_KM - cost_KM.min()
    height = float(height_KM.median()) or float(height_KM.max())
    return 0.01 * height if height > 0 else 1.0


def solve_sinkhorn(
    problem: TransportProblem,
    *,
    epsilon: float | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
) -> SinkhornOutput:
    """Solve every sample with entropic regularisation, in float64.

    Args:
        problem: the samples.
        epsilon: regularisation in units of the cost; ``None`` takes :func:`default_epsilon`.
        tolerance: a sample has converged when its marginal error is below this.
        max_iterations: bound on the iterations of a sample; the rest is reported unconverged.

    Raises:
        ValueError: epsilon or tolerance not positive.
    """
    epsilon = default_epsilon(problem.cost_KM) if epsilon is None else epsilon
    if not epsilon > 0 or not tolerance > 0:
        raise ValueError(f"epsilon {epsilon} and tolerance {tolerance} must be positive")
    exact = problem.in_float64()
    reduced_KM, row_K, column_M = _reduce(exact.cost_KM)
    reduced = TransportProblem(exact.source_NK, exact.target_NM, reduced_KM)
    in_range = float(reduced_KM.max()) / epsilon <= _KERNEL_RANGE
    iterate = _iterate_kernel if in_range else _iterate_log_domain
    f_NK, g_NM, error_N = iterate(reduced, epsilon, tolerance, max_iterations)
    f_NK, g_NM = f_NK + row_K, g_NM + column_M
    cost_N = _rounded_costs(exact, f_NK, g_NM, epsilon)
    return SinkhornOutput(exact, cost_N, error_N <= tolerance, error_N, epsilon, f_NK, g_NM)


def round_to_marginals(plan_BKM: Tensor, source_BK: Tensor, target_BM: Tensor) -> Tensor:
    """Nearby plans that meet both marginals exactly (to rounding), [B, K, M].

    Rows, then columns, that are too heavy are scaled down; what is missing then is added as an
    independent coupling. Altschuler, Weed and Rigollet 2017, https://arxiv.org/abs/1705.09634.
    """
    plan_BKM = plan_BKM * _at_most_one(source_BK, plan_BKM.sum(dim=2))[:, :, None]
    plan_BKM = plan_BKM * _at_most_one(target_BM, plan_BKM.sum(dim=1))[:, None, :]
    missing_BK = (source_BK - plan_BKM.sum(dim=2)).clamp_min(0)
    missing_BM = (target_BM - plan_BKM.sum(dim=1)).clamp_min(0)
    total_B = missing_BK.sum(dim=1).clamp_min(torch.finfo(plan_BKM.dtype).tiny)
    return plan_BKM + missing_BK[:, :, None] * (missing_BM / total_B[:, None])[:, None, :]


def _at_most_one(wanted: Tensor, present: Tensor) -> Tensor:
    return torch.where(present > wanted, wanted / present, 1.0)


def _reduce(cost_KM: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """C less its row minima, less its column minima then: same plans, smallest range."""
    row_K = cost_KM.amin(dim=1)
    column_M = (cost_KM - row_K[:, None]).amin(dim=0)
    return cost_KM - row_K[:, None] - column_M, row_K, column_M


def _iterate_kernel(
    problem: TransportProblem, epsilon: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale rows and columns in turn; potentials [N, K], [N, M] and marginal errors [N]."""
    kernel_KM = torch.exp(-problem.cost_KM / epsilon)
    u_NK, v_NM = torch.zeros_like(problem.source_NK), torch.zeros_like(problem.target_NM)
    error_N = torch.full_like(u_NK[:, 0], torch.inf)
    active = torch.arange(problem.num_samples, device=u_NK.device)
    p_BK, q_BM = problem.source_NK, problem.target_NM
    u_BK, v_BM = torch.zeros_like(p_BK), torch.ones_like(q_BM)
    for iteration in range(max_iterations):
        row_BK = v_BM @ kernel_KM.T
        if iteration % _COMPACT_EVERY == 0 and iteration > 0:
            # Columns are met after every iteration: what the rows miss is the whole error.
            error_B = (u_BK * row_BK - p_BK).abs().sum(dim=1)
            u_NK[active], v_NM[active], error_N[active] = u_BK, v_BM, error_B
            rest = error_B > tolerance
            if not rest.any():
                break
            active, row_BK = active[rest], row_BK[rest]
            p_BK, q_BM = p_BK[rest], q_BM[rest]
        u_BK = p_BK / row_BK
        v_BM = q_BM / (u_BK @ kernel_KM)
    return epsilon * u_NK.log(), epsilon * v_NM.log(), error_N


def _iterate_log_domain(
    problem: TransportProblem, epsilon: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same without underflow, for any epsilon; slower, and in chunks of samples."""
    parts = [
        _iterate_log_chunk(problem.rows(chunk), epsilon, tolerance, max_iterations)
        for chunk in _chunks(problem)
    ]
    f, g, error = zip(*parts, strict=True)
    return torch.cat(f), torch.cat(g), torch.cat(error)


def _iterate_log_chunk(
    problem: TransportProblem, epsilon: float, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    log_p_BK, log_q_BM = problem.source_NK.log(), problem.target_NM.log()
    f_BK, g_BM = torch.zeros_like(log_p_BK), torch.zeros_like(log_q_BM)
    error_B = torch.full_like(f_BK[:, 0], torch.inf)
    for level in _epsilon_scaling(float(problem.cost_KM.max()), epsilon):
        limit = max_iterations if level == epsilon else _SCALING_ITERATIONS
        for _ in range(limit):
            height = (g_BM[:, None, :] - problem.cost_KM) / level
            row_BK = level * torch.logsumexp(height, dim=2)
            if level == epsilon:
                mass_BK = torch.exp((f_BK + row_BK) / level)
                error_B = (mass_BK - problem.source_NK).abs().sum(dim=1)
                if bool((error_B <= tolerance).all()):
                    break
            f_BK = level * log_p_BK - row_BK
            height = (f_BK[:, :, None] - problem.cost_KM) / level
            g_BM = level * (log_q_BM - torch.logsumexp(height, dim=1))
    return f_BK, g_BM, error_B


def _epsilon_scaling(largest: float, epsilon: float) -> Iterator[float]:
    """Epsilons from the largest cost down to the wanted one, each a quarter of the last."""
    level = largest / 4
    while level > 4 * epsilon:
        yield level
        level /= 4
    yield epsilon


def _plans(f_BK: Tensor, g_BM: Tensor, cost_KM: Tensor, epsilon: float) -> Tensor:
    return torch.exp((f_BK[:, :, None] + g_BM[:, None, :] - cost_KM) / epsilon)


def _rounded_costs(problem: TransportProblem, f_NK: Tensor, g_NM: Tensor, epsilon: float) -> Tensor:
    """<T, C> of every sample's rounded plan."""
    costs = []
    for chunk in _chunks(problem):
        plan_BKM = round_to_marginals(
            _plans(f_NK[chunk], g_NM[chunk], problem.cost_KM, epsilon),
            problem.source_NK[chunk],
            problem.target_NM[chunk],
        )
        costs.append(torch.einsum("bkm,km->b", plan_BKM, problem.cost_KM))
    return torch.cat(costs)


def _chunks(problem: TransportProblem) -> Iterator[slice]:
    """Slices of samples whose plans fit into the memory bound together."""
    size = max(1, _PLAN_ENTRIES // problem.cost_KM.numel())
    for start in range(0, problem.num_samples, size):
        yield slice(start, start + size)
