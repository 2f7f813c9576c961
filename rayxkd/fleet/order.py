"""Which job is begun first."""

from __future__ import annotations


def longest_first(weights_bytes: int, name: str) -> tuple[int, str]:
    """The key to sort jobs by, so that none that takes long is left to run alone at the end.

    Longest processing time first (Graham, 1969): at most 4/3 of the best possible makespan where
    the times are known. The size of the weights stands for the time, which nobody knows before.

    Args:
        weights_bytes: of the job's teacher.
        name: of the teacher, for an order that is always the same.
    """
    return -weights_bytes, name
