"""From scalings to plans that meet what must be met, without holding B x K x M numbers.

Legend: B samples, K source classes, M target classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rayxkd.transport.products import narrow_product
from rayxkd.transport.solvers.scaling import (
    Relaxation,
    columns_of,
    errors_of,
    log_columns_of,
    log_rows_of,
    scaled,
)


@dataclass(frozen=True)
class FactoredPlans:
    """B plans: plan_i = diag(u_i) G diag(w_i) + missing_i (x) short_i / |missing_i|.

    Attributes:
        kernel_KM: G.
        u_BK: row scalings.
        w_BM: column scalings.
        missing_BK: mass that the rows lack after the columns were scaled down.
        short_BM: mass that the columns lack, with the same sum.
        error_B: marginal error before the plans were rounded.
    """

    kernel_KM: Tensor
    u_BK: Tensor
    w_BM: Tensor
    missing_BK: Tensor
    short_BM: Tensor
    error_B: Tensor

    def costs(self, cost_KM: Tensor) -> Tensor:
        """<plan, C> of every sample, [B]."""
        moved_BM = narrow_product(self.u_BK, self.kernel_KM * cost_KM) * self.w_BM
        rest_BM = narrow_product(self.missing_BK, cost_KM) * self._share_BM
        return (moved_BM + rest_BM).sum(dim=1)

    def rows(self) -> Tensor:
        """Row sums [B, K]."""
        return self.u_BK * (self.w_BM @ self.kernel_KM.T) + self.missing_BK

    def columns(self) -> Tensor:
        """Column sums [B, M]."""
        return self.w_BM * narrow_product(self.u_BK, self.kernel_KM) + self.short_BM

    def sum(self) -> Tensor:
        """The sum of all plans, [K, M]."""
        return self.kernel_KM * (self.u_BK.T @ self.w_BM) + self.missing_BK.T @ self._share_BM

    @property
    def _share_BM(self) -> Tensor:
        total_B1 = self.short_BM.sum(dim=1, keepdim=True)
        return torch.where(total_B1 > 0, self.short_BM / total_B1, 0.0)


def factored_plans(
    source_BK: Tensor, target_BM: Tensor, kernel_KM: Tensor, v_BM: Tensor, relaxation: Relaxation
) -> FactoredPlans:
    """Plans of the target scalings v that meet every marginal that must be met, in float64.

    Where both must be: columns that are too heavy are scaled down, and what is missing is added
    as an independent coupling (Altschuler, Weed, Rigollet 2017, https://arxiv.org/abs/1705.09634).
    """
    u_BK = scaled(source_BK, v_BM @ kernel_KM.T, relaxation.source_exponent)
    column_BM, next_BM = columns_of(u_BK, target_BM, kernel_KM, relaxation)
    error_B = errors_of(v_BM, next_BM, column_BM)
    if relaxation.is_balanced:
        w_BM = torch.minimum(v_BM, next_BM)
        row_BK = w_BM @ kernel_KM.T
        # One pass over the largest arrays instead of three.
        missing_BK = torch.addcmul(source_BK, u_BK, row_BK, value=-1, out=row_BK).clamp_min_(0)
        short_BM = (target_BM - column_BM * w_BM).clamp_min_(0)
    else:
        w_BM = next_BM if relaxation.target_exponent == 1 else v_BM
        missing_BK, short_BM = torch.zeros_like(u_BK), torch.zeros_like(v_BM)
    return FactoredPlans(kernel_KM, u_BK, w_BM, missing_BK, short_BM, error_B)


def log_domain_plans(
    source_BK: Tensor, target_BM: Tensor, cost_KM: Tensor, g_BM: Tensor, relaxation: Relaxation
) -> tuple[Tensor, Tensor]:
    """The same plans, [B, K, M], and marginal errors [B], where the kernel would underflow."""
    epsilon = relaxation.epsilon
    _, f_BK = log_rows_of(source_BK, g_BM, cost_KM, relaxation)
    plan_BKM = torch.exp((f_BK[:, :, None] + g_BM[:, None, :] - cost_KM) / epsilon)
    column_BM = plan_BKM.sum(dim=1)
    # The factor of a further half step. Columns that nothing reaches stay; rounding fills them.
    if relaxation.target_exponent == 1:
        factor_BM = torch.where(column_BM > 0, target_BM / column_BM, 1.0)
    else:
        _, next_BM, _ = log_columns_of(f_BK, target_BM, cost_KM, g_BM, relaxation)
        factor_BM = torch.where(target_BM > 0, torch.exp((next_BM - g_BM) / epsilon), 1.0)
    error_B = ((factor_BM - 1).abs() * column_BM).sum(dim=1)
    if relaxation.is_balanced:
        error_B = (target_BM - column_BM).abs().sum(dim=1)
        plan_BKM = plan_BKM * factor_BM.clamp_max(1)[:, None, :]
        plan_BKM = plan_BKM + _independent_rest(plan_BKM, source_BK, target_BM)
    elif relaxation.target_exponent == 1:
        plan_BKM = plan_BKM * factor_BM[:, None, :]
    return plan_BKM, error_B


def _independent_rest(plan_BKM: Tensor, source_BK: Tensor, target_BM: Tensor) -> Tensor:
    missing_BK = (source_BK - plan_BKM.sum(dim=2)).clamp_min(0)
    short_BM = (target_BM - plan_BKM.sum(dim=1)).clamp_min(0)
    total_B = missing_BK.sum(dim=1).clamp_min(torch.finfo(plan_BKM.dtype).tiny)
    return missing_BK[:, :, None] * (short_BM / total_B[:, None])[:, None, :]


def penalties(
    row_BK: Tensor,
    column_BM: Tensor,
    source_BK: Tensor,
    target_BM: Tensor,
    relaxation: Relaxation,
) -> Tensor:
    """What a plan's marginals cost beside <T, C>, [B]: zero where they must be met."""
    total_B = torch.zeros_like(source_BK[:, 0])
    if math.isfinite(relaxation.source_penalty):
        total_B = total_B + relaxation.source_penalty * _divergence(row_BK, source_BK)
    if math.isfinite(relaxation.target_penalty):
        total_B = total_B + relaxation.target_penalty * _divergence(column_BM, target_BM)
    return total_B


def _divergence(mass: Tensor, wanted: Tensor) -> Tensor:
    """KL(mass | wanted) = sum mass log(mass / wanted) - mass + wanted, over each row."""
    ratio = torch.where(wanted > 0, mass / wanted, 1.0)
    terms: Tensor = torch.special.xlogy(mass, ratio) - mass + wanted
    return terms.sum(dim=1)
