"""Correlations of scores with the truth, and of scores with one another.

Scores are oriented so that higher is better; truth is an accuracy in [0, 1].

Legend: T teachers, R rankers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


def weighted_tau(score_T: Floats, truth_T: Floats) -> float:
    """Kendall's tau in which exchanges at the top weigh more, in [-1, 1]; 0 for constant input.

    An exchange of the teachers ranked r and s, the best being 0, weighs 1/(r + 1) + 1/(s + 1):
    additive hyperbolic weighing. The ranks are once those by score, ties resolved by truth, and
    once those by truth, ties resolved by score; the result is the mean of both
    (``scipy.stats.weightedtau`` with ``rank=True``), which makes it symmetric. This convention
    reproduces the values recomputed from Model Spider's tables. The published ones weigh by the
    truth's ranks alone (``rank=None``), so that a bad teacher put first costs little.

    Paper: Vigna, "A weighted correlation index for rankings with ties", WWW 2015,
    https://arxiv.org/abs/1404.3325

    Raises:
        ValueError: shapes differ or are not [T], there is no teacher, or a value is NaN.
    """
    check_paired(score_T, truth_T)
    return _or_nothing(stats.weightedtau, score_T, truth_T)


def spearman(score_T: Floats, truth_T: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank, in [-1, 1]; 0 for constant input.

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    check_paired(score_T, truth_T)
    return _or_nothing(stats.spearmanr, score_T, truth_T)


def pearson(score_T: Floats, truth_T: Floats) -> float:
    """Pearson's linear correlation, in [-1, 1]; 0 for constant input or an infinite score.

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    check_paired(score_T, truth_T)
    if not np.isfinite([score_T, truth_T]).all():
        return 0.0
    return _or_nothing(stats.pearsonr, score_T, truth_T)


def rank_correlations(scores: Mapping[str, Floats]) -> Floats:
    """Spearman correlation between any two rankers' scores of the same teachers.

    Args:
        scores: by ranker, each [T].

    Returns:
        [R, R] in the order of the mapping; 1 on the diagonal, 0 between a constant score and any
        other.

    Raises:
        ValueError: there is no ranker, or scores cannot be compared: see :func:`weighted_tau`.
    """
    first_T, *_ = scores.values()
    for score_T in scores.values():
        check_paired(score_T, first_T)
    ranks_RT = stats.rankdata(np.stack(list(scores.values())), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation_RR: Floats = np.nan_to_num(np.atleast_2d(np.corrcoef(ranks_RT)))
    np.fill_diagonal(correlation_RR, 1.0)
    return correlation_RR


def _or_nothing(correlation: Callable[..., Any], score_T: Floats, truth_T: Floats) -> float:
    """A correlation, or 0 where one side tells no two teachers apart and so knows nothing."""
    if np.all(score_T == score_T[0]) or np.all(truth_T == truth_T[0]):
        return 0.0
    return float(np.clip(correlation(score_T, truth_T).statistic, -1.0, 1.0))


def check_paired(score_T: Floats, truth_T: Floats) -> None:
    """Refuse what cannot be compared.

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    if score_T.shape != truth_T.shape or score_T.ndim != 1 or not len(score_T):
        raise ValueError(
            f"scores and truth are one value a teacher, not {score_T.shape} and {truth_T.shape}"
        )
    if np.isnan(score_T).any() or np.isnan(truth_T).any():
        raise ValueError("a teacher without score or truth cannot be ranked: leave it out")
