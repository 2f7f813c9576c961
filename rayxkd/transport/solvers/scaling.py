"""Sinkhorn's iterations for many samples with one ground cost: two matrix products each.

Legend: B samples, K source classes, M target classes. The regulariser is epsilon KL(T | p (x) q).
With the Gibbs kernel G = exp(-C / epsilon) the plan of a sample is diag(u) G diag(v), with
u = p / (G v)^a and v = q / (G' u)^b. The exponents are 1 where a marginal must be met and
rho / (rho + epsilon) for its penalty rho. Sources: Cuturi 2013, https://arxiv.org/abs/1306.0895;
for penalties Chizat et al. 2018, https://arxiv.org/abs/1607.05816.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.products import narrow_product

# Scalings reach exp(range of C / epsilon) and are multiplied in pairs; float64 holds exp(+-700).
FLOAT64_RANGE = 300.0
# float32 cannot tell marginal errors below this from rounding.
FLOAT32_TOLERANCE = 1e-5
# The batch is looked at this often: samples that have converged leave it.
_LOOK_EVERY = 5
# Over-relaxation (Thibault, Chizat, Dossal, Papadakis 2021, https://arxiv.org/abs/1711.01851)
# begins after a few plain steps: v goes 1.5 times as far in the logarithm.
_PLAIN_ITERATIONS = 3
# Iterations at each intermediate epsilon of the log domain: a rough start for the next is enough.
_LEVEL_ITERATIONS = 20


@dataclass(frozen=True)
class Relaxation:
    """Penalties of the two marginals, infinite where they must be met, with their epsilon."""

    source_penalty: float
    target_penalty: float
    epsilon: float

    @property
    def source_exponent(self) -> float:
        """a."""
        return _exponent(self.source_penalty, self.epsilon)

    @property
    def target_exponent(self) -> float:
        """b."""
        return _exponent(self.target_penalty, self.epsilon)

    @property
    def is_balanced(self) -> bool:
        """Whether both marginals must be met."""
        return self.source_exponent == self.target_exponent == 1


def _exponent(penalty: float, epsilon: float) -> float:
    return 1.0 if math.isinf(penalty) else penalty / (penalty + epsilon)


def scaled(mass: Tensor, reached: Tensor, exponent: float) -> Tensor:
    """mass / reached^exponent, in the memory of ``reached``.

    What a kernel without zeros reaches is never zero; where numbers are too small to tell, the
    result is not finite, which callers look for.
    """
    if exponent != 1:
        reached.pow_(exponent)
    return torch.div(mass, reached, out=reached)


def columns_of(
    u_BK: Tensor, target_BM: Tensor, kernel_KM: Tensor, relaxation: Relaxation
) -> tuple[Tensor, Tensor]:
    """G' u and the next target scalings, [B, M]."""
    column_BM = narrow_product(u_BK, kernel_KM)
    exponent = relaxation.target_exponent
    return column_BM, target_BM / (column_BM if exponent == 1 else column_BM**exponent)


def errors_of(v_BM: Tensor, next_BM: Tensor, column_BM: Tensor) -> Tensor:
    """The mass by which a half step from v to ``next_BM`` changes the columns, [B].

    Where both marginals must be met that is the marginal error of the plan of v.
    """
    return ((next_BM - v_BM).abs() * column_BM).sum(dim=1)


def iterate_kernel(
    source_BK: Tensor,
    target_BM: Tensor,
    kernel_KM: Tensor,
    start_BM: Tensor,
    relaxation: Relaxation,
    *,
    tolerance: float,
    max_iterations: int,
) -> Tensor:
    """Scale rows and columns in turn until every sample's marginal error is below the tolerance.

    All tensors are of one dtype; for the error see :func:`errors_of`.

    Returns:
        The target scalings v [B, M]; what has not converged holds its last iterate.
    """
    result_BM = start_BM.clone()
    batch = _Batch(source_BK, target_BM, start_BM)
    transposed_MK = kernel_KM.T.contiguous()
    for iteration in range(1, max_iterations + 1):
        torch.mm(batch.v_BM, transposed_MK, out=batch.row_BK)
        u_BK = scaled(batch.source_BK, batch.row_BK, relaxation.source_exponent)
        column_BM, next_BM = columns_of(u_BK, batch.target_BM, kernel_KM, relaxation)
        if iteration % _LOOK_EVERY == 0 or iteration == max_iterations:
            error_B = errors_of(batch.v_BM, next_BM, column_BM)
            result_BM[batch.place_B] = next_BM
            rest_B = error_B > tolerance
            batch.look(error_B)
            if not rest_B.any():
                break
            if not rest_B.all():
                next_BM = next_BM[rest_B]
                batch.keep(rest_B)
        batch.step_to(next_BM, beyond=relaxation.is_balanced and iteration >= _PLAIN_ITERATIONS)
    return result_BM


class _Batch:
    """The samples that have not converged yet."""

    def __init__(self, source_BK: Tensor, target_BM: Tensor, v_BM: Tensor) -> None:
        self.source_BK, self.target_BM, self.v_BM = source_BK, target_BM, v_BM
        self.row_BK = torch.empty_like(source_BK)
        self.place_B = torch.arange(len(v_BM), device=v_BM.device)
        self._last_error_B = torch.full_like(v_BM[:, 0], torch.inf)
        self._goes_beyond_B1 = torch.ones_like(v_BM[:, :1], dtype=torch.bool)
        self._all_beyond = True  # spares a pass over the target classes at every iteration

    def step_to(self, next_BM: Tensor, *, beyond: bool) -> None:
        """Take the next scalings, or go half a step further where that has helped so far."""
        if beyond:
            tiny = torch.finfo(next_BM.dtype).tiny
            factor_BM = torch.div(next_BM, self.v_BM.clamp_min_(tiny)).sqrt_()
            if not self._all_beyond:
                factor_BM = torch.where(self._goes_beyond_B1, factor_BM, 1.0)
            next_BM = factor_BM.mul_(next_BM)
        self.v_BM = next_BM

    def look(self, error_B: Tensor) -> None:
        """Samples whose error has grown take plain steps from now on, which cannot diverge."""
        self._goes_beyond_B1 &= (error_B < self._last_error_B)[:, None]
        self._last_error_B = error_B
        self._all_beyond = bool(self._goes_beyond_B1.all())

    def keep(self, rest_B: Tensor) -> None:
        """Let all others go."""
        self.place_B, self.v_BM = self.place_B[rest_B], self.v_BM[rest_B]
        self.source_BK, self.target_BM = self.source_BK[rest_B], self.target_BM[rest_B]
        self.row_BK = self.row_BK[: len(self.place_B)]
        self._last_error_B = self._last_error_B[rest_B]
        self._goes_beyond_B1 = self._goes_beyond_B1[rest_B]


def iterate_log_domain(
    source_BK: Tensor,
    target_BM: Tensor,
    cost_KM: Tensor,
    relaxation: Relaxation,
    *,
    tolerance: float,
    max_iterations: int,
) -> Tensor:
    """The same on potentials g = epsilon log v, without underflow for any epsilon; slower.

    Epsilon is lowered step by step, since from far away a small one converges slowly. Holds
    several B x K x M arrays.
    """
    g_BM = torch.where(target_BM > 0, 0.0, -torch.inf).to(target_BM)
    largest = float(cost_KM.max() - cost_KM.min())
    for level in _epsilon_levels(largest, relaxation.epsilon):
        step = Relaxation(relaxation.source_penalty, relaxation.target_penalty, level)
        last = level == relaxation.epsilon
        for _ in range(max_iterations if last else _LEVEL_ITERATIONS):
            _, f_BK = log_rows_of(source_BK, g_BM, cost_KM, step)
            _, g_BM, error_B = log_columns_of(f_BK, target_BM, cost_KM, g_BM, step)
            if last and bool((error_B <= tolerance).all()):
                break
    return g_BM


def log_rows_of(
    source_BK: Tensor, g_BM: Tensor, cost_KM: Tensor, relaxation: Relaxation
) -> tuple[Tensor, Tensor]:
    """log(G v) [B, K], and f = epsilon log u, which is -inf where the source has no mass."""
    epsilon = relaxation.epsilon
    row_BK = torch.logsumexp((g_BM[:, None, :] - cost_KM) / epsilon, dim=2)
    return row_BK, epsilon * (source_BK.log() - relaxation.source_exponent * row_BK)


def log_columns_of(
    f_BK: Tensor, target_BM: Tensor, cost_KM: Tensor, g_BM: Tensor, relaxation: Relaxation
) -> tuple[Tensor, Tensor, Tensor]:
    """log(G' u) [B, M], the next target potentials, and errors: see :func:`errors_of`."""
    epsilon = relaxation.epsilon
    column_BM = torch.logsumexp((f_BK[:, :, None] - cost_KM) / epsilon, dim=1)
    next_BM = epsilon * (target_BM.log() - relaxation.target_exponent * column_BM)
    moved_BM = torch.exp(next_BM / epsilon + column_BM) - torch.exp(g_BM / epsilon + column_BM)
    return column_BM, next_BM, moved_BM.abs().sum(dim=1)


def _epsilon_levels(largest: float, epsilon: float) -> list[float]:
    """Epsilons from the largest cost down to the wanted one, each a quarter of the last."""
    levels = []
    level = largest / 4
    while level > 4 * epsilon:
        levels.append(level)
        level /= 4
    return [*levels, epsilon]
