"""A lower bound on every transport cost, from any dual potential: proof of how good a plan is.

Legend: B samples, K source classes, M target classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def c_transform(potential_BM: Tensor, cost_KM: Tensor) -> Tensor:
    """f_k = min_m (C[k, m] - g_m), the best source potential for a target potential, [B, K].

    A potential of -inf, of a target class without mass, takes no part in the minimum. One pass
    over the target classes: no B x K x M numbers at once.
    """
    columns_MK = cost_KM.T.contiguous()
    best_BK = columns_MK[0] - potential_BM[:, :1]
    candidate_BK = torch.empty_like(best_BK)
    for m in range(1, len(columns_MK)):
        torch.sub(columns_MK[m], potential_BM[:, m, None], out=candidate_BK)
        torch.minimum(best_BK, candidate_BK, out=best_BK)
    return best_BK


def dual_value(
    source_BK: Tensor,
    target_BM: Tensor,
    cost_KM: Tensor,
    potential_BM: Tensor,
    *,
    source_penalty: float = math.inf,
    target_penalty: float = math.inf,
) -> Tensor:
    """Value of the dual problem at (c-transform of g, g): never above the transport cost, [B].

    sum_k p_k phi(f_k) + sum_m q_m phi(g_m) with phi(x) = x for a marginal that must be met, else
    rho (1 - exp(-x / rho)) for its penalty rho. All in float64; classes without mass count nothing.
    """
    source_potential_BK = c_transform(potential_BM, cost_KM)
    source_B = weighted_worth(source_BK, source_potential_BK, source_penalty)
    return source_B + weighted_worth(target_BM, potential_BM, target_penalty)


def worth(potential: Tensor, penalty: float) -> Tensor:
    """phi of :func:`dual_value`: what the dual problem pays for a unit of mass."""
    if math.isinf(penalty):
        return potential
    return -penalty * torch.expm1(-potential / penalty)


def weighted_worth(mass: Tensor, potential: Tensor, penalty: float) -> Tensor:
    """sum mass phi(potential) over each row."""
    # An empty class may have an infinite potential: 0 x inf is no number.
    return torch.where(mass > 0, mass * worth(potential, penalty), 0.0).sum(dim=1)
