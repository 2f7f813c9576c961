"""What a choice by the score is worth.

Where a score leaves teachers tied, what is reported is the expectation over an order of them drawn
at random, computed and not sampled.

Legend: T teachers, G teachers tied at the last place of a choice, D numbers of teachers drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rayxkd.study.correlations import Floats, check_paired


def regret(score_T: Floats, truth_T: Floats, k: int = 1) -> float:
    """Accuracy points lost by trying only the score's k best teachers and keeping the best of them.

    100 (max truth - max over the score's top k of truth), at least 0. Of the g teachers that are
    tied at the k-th place r are drawn without replacement: the i-th best of them is the best drawn
    with probability C(g - i, r - 1) / C(g, r).

    Args:
        score_T: higher is better.
        truth_T: accuracies in [0, 1].
        k: how many can be tried; more than T are T.

    Raises:
        ValueError: k is below 1, or as :func:`weighted_tau`.
    """
    check_paired(score_T, truth_T)
    top = _Top.of(score_T, k)
    tied_G = np.sort(truth_T[top.tied_T])[::-1]
    best_drawn_G = _chances_to_be_best(len(tied_G), top.places)
    surely = truth_T[top.sure_T].max(initial=-np.inf)
    # Every loss is at least 0, and so is their mean, whatever is rounded.
    losses_G = truth_T.max() - np.maximum(tied_G, surely)
    return 100 * float(best_drawn_G @ losses_G)


def regret_curve(score_T: Floats, truth_T: Floats) -> Floats:
    """Regret in accuracy points for every budget k = 1, ..., T: [T], falling to 0.

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    return np.array([regret(score_T, truth_T, k) for k in range(1, len(score_T) + 1)])


def recall(score_T: Floats, truth_T: Floats, k: int) -> float:
    """Share of the truth's k best teachers that are among the score's k best, in [0, 1].

    Teachers that are equally good in truth at the k-th place stand for one another: whichever of
    them the score puts first is as right as another, so that a perfect score recalls all.

    Args:
        score_T: higher is better.
        truth_T: accuracies.
        k: how many; more than T are T.

    Raises:
        ValueError: k is below 1, or as :func:`weighted_tau`.
    """
    check_paired(score_T, truth_T)
    chosen, right = _Top.of(score_T, k), _Top.of(truth_T, k)
    num_tied = np.count_nonzero(chosen.tied_T)
    # What is missed, rather than found, is exactly 0 for a perfect score, whatever is rounded:
    # of those that belong to the truth's top whatever its ties,
    found = np.count_nonzero(chosen.sure_T & right.sure_T)
    drawn = chosen.places / num_tied * np.count_nonzero(chosen.tied_T & right.sure_T)
    missed = np.count_nonzero(right.sure_T) - found - drawn
    # and of the places of those that may stand for one another, of which D more are drawn.
    left = right.places - np.count_nonzero(chosen.sure_T & right.tied_T)
    candidates = np.count_nonzero(chosen.tied_T & right.tied_T)
    number_D = np.arange(chosen.places + 1)
    chance_D = stats.hypergeom.pmf(number_D, num_tied, candidates, chosen.places)
    missed += chance_D @ np.maximum(left - number_D, 0)
    return max(0.0, float(1 - missed / min(k, len(truth_T))))


@dataclass(frozen=True)
class _Top:
    """The k best of T values: all of ``sure_T``, and ``places`` of those that ``tied_T`` marks."""

    sure_T: NDArray[np.bool_]
    tied_T: NDArray[np.bool_]
    places: int

    @classmethod
    def of(cls, values_T: Floats, k: int) -> _Top:
        if k < 1:
            raise ValueError(f"the {k} best teachers are none: k must be at least 1")
        k = min(k, len(values_T))
        last = np.sort(values_T)[-k]
        sure_T = values_T > last
        return cls(sure_T, values_T == last, k - int(np.count_nonzero(sure_T)))


def _chances_to_be_best(count: int, drawn: int) -> Floats:
    """With which probability the first, second, ... of a group is the best one drawn: [G].

    C(g - i, r - 1) / C(g, r) by the ratio of its successive values, since binomials overflow.
    """
    left_G = np.arange(count - 1, 0, -1)
    ratios_G = np.maximum(left_G - drawn + 1, 0) / left_G
    chances_G: Floats = drawn / count * np.concatenate([[1.0], np.cumprod(ratios_G)])
    return chances_G
