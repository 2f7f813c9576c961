"""A ground cost without what no plan depends on."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ReducedCost(NamedTuple):
    """C[k, m] = cost[k, m] + row[k] + column[m].

    Where both marginals must be met every plan pays rows and columns alike, so that plans are those
    of the reduced cost, and potentials differ by ``row_K`` and ``column_M``.

    Attributes:
        cost_KM: not negative; each row and each column reaches zero (up to rounding).
        row_K: row minima of C.
        column_M: column minima of what is left then.
    """

    cost_KM: Tensor
    row_K: Tensor
    column_M: Tensor


def reduced(cost_KM: Tensor) -> ReducedCost:
    """C less its row minima, less its column minima then: the same plans, a small range."""
    row_K = cost_KM.amin(dim=1)
    risen_KM = cost_KM - row_K[:, None]
    column_M = risen_KM.amin(dim=0)
    return ReducedCost(risen_KM - column_M, row_K, column_M)


def unreduced(cost_KM: Tensor) -> ReducedCost:
    """C as it is: with penalties a constant in it changes the plans."""
    return ReducedCost(cost_KM, cost_KM.new_zeros(len(cost_KM)), cost_KM.new_zeros(len(cost_KM.T)))
