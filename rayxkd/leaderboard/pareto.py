"""Which rows nobody beats in both of two things at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def pareto_front(one: npt.ArrayLike, other: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Mark the Pareto-optimal rows, where less is better in both values.

    A row is optimal if no other row is at least as good in both and better in one; rows that are
    equal in both are optimal together. Rows with a value that is not finite take no part.

    Args:
        one: a value for each of N rows, float; NaN: unknown.
        other: another value of the same rows, float.

    Returns:
        N marks, bool.
    """
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    known = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    marks = np.zeros(len(first), dtype=np.bool_)
    if known.size:
        order = known[np.lexsort((second[known], first[known]))]
        marks[order] = _optimal_in_order(first[order], second[order])
    return marks


def _optimal_in_order(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The same for values sorted by the first and then the second.

    Of rows that are equal in the first value only the best in the second can be optimal, and it is
    where it beats all rows before.
    """
    begins = np.concatenate(([True], first[1:] != first[:-1]))
    start = np.maximum.accumulate(np.where(begins, np.arange(len(first)), 0))
    best_until = np.concatenate(([np.inf], np.minimum.accumulate(second)))
    return np.asarray((second == second[start]) & (second < best_until[start]), dtype=np.bool_)
