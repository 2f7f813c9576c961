"""How well scores agree with the truth, how far that can be trusted, and what a choice costs.

Scores are oriented so that higher is better; truth is an accuracy in [0, 1]. Where a score leaves
teachers tied, what is reported is the expectation over an order of them drawn at random, computed
and not sampled.

Legend: T teachers, S seeds, J tasks, R rankers, B random draws, G teachers tied at the last place
of a choice, D numbers of teachers drawn. The S of a task need not be that of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], float]

# Sign flips up to this many are counted out, that is for up to 16 tasks; more are drawn.
_EXACT_FLIPS = 2**16


# Correlations


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
    _check(score_T, truth_T)
    return _or_nothing(stats.weightedtau, score_T, truth_T)


def spearman(score_T: Floats, truth_T: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank, in [-1, 1]; 0 for constant input.

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    _check(score_T, truth_T)
    return _or_nothing(stats.spearmanr, score_T, truth_T)


def pearson(score_T: Floats, truth_T: Floats) -> float:
    """Pearson's linear correlation, in [-1, 1]; 0 for constant input or an infinite score.

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    _check(score_T, truth_T)
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
        _check(score_T, first_T)
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


def _check(score_T: Floats, truth_T: Floats) -> None:
    if score_T.shape != truth_T.shape or score_T.ndim != 1 or not len(score_T):
        raise ValueError(
            f"scores and truth are one value a teacher, not {score_T.shape} and {truth_T.shape}"
        )
    if np.isnan(score_T).any() or np.isnan(truth_T).any():
        raise ValueError("a teacher without score or truth cannot be ranked: leave it out")


# What a choice by the score is worth


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
    _check(score_T, truth_T)
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
    _check(score_T, truth_T)
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


@dataclass(frozen=True)
class Agreement:
    """How well one ranker's scores agree with the truth on one task and seed.

    Attributes:
        weighted_tau: see :func:`weighted_tau`; in [-1, 1] as the next two.
        spearman: rank correlation.
        pearson: linear correlation.
        regret_1: accuracy points lost by taking the first choice.
        regret_3: accuracy points lost by taking the best of the first three.
        recall_1: probability that the first choice is a best teacher.
        recall_3: share of the three best teachers among the first three.
        recall_5: share of the five best teachers among the first five.
    """

    weighted_tau: float
    spearman: float
    pearson: float
    regret_1: float
    regret_3: float
    recall_1: float
    recall_3: float
    recall_5: float


def agreement(score_T: Floats, truth_T: Floats) -> Agreement:
    """Compare scores, higher is better, with accuracies in [0, 1].

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    return Agreement(
        weighted_tau=weighted_tau(score_T, truth_T),
        spearman=spearman(score_T, truth_T),
        pearson=pearson(score_T, truth_T),
        regret_1=regret(score_T, truth_T, 1),
        regret_3=regret(score_T, truth_T, 3),
        recall_1=recall(score_T, truth_T, 1),
        recall_3=recall(score_T, truth_T, 3),
        recall_5=recall(score_T, truth_T, 5),
    )


# How far the truth itself can be trusted


def reliability(truth_ST: Floats) -> float:
    """Share of the variance of seed-mean accuracies between teachers that is no noise, in [0, 1].

    The seeds are split in halves in every possible way, and r is the mean Pearson correlation
    between the halves' means. With q the variance of noise at one seed over that of the latent
    truth, halves of a and b seeds correlate by

        r = 1 / sqrt( (1 + q / a) (1 + q / b) )

    which is solved for q; the mean of all S = a + b seeds has the reliability 1 / (1 + q / S). For
    even S, that is a = b, it is the formula of Spearman and Brown, 2 r / (1 + r); for odd S, where
    halves differ by one seed, that of Horst, "Estimating total test reliability from parts of
    unequal length" (1951). 0 where halves do not agree at all.

    What a seed adds to all teachers alike counts neither as truth nor as noise.

    Args:
        truth_ST: accuracy of each teacher for each seed, the same teachers in each. All of the
            about 2^S / sqrt(S) splits are computed: S is a handful.

    Raises:
        ValueError: there are fewer than two seeds, or a value is NaN.
    """
    if truth_ST.ndim != 2 or len(truth_ST) < 2:
        raise ValueError(f"noise shows between two seeds or more, not in truth {truth_ST.shape}")
    between = float(np.mean([pearson(*halves) for halves in _halves(truth_ST)]))
    if between <= 0:
        return 0.0
    seeds = len(truth_ST)
    product = (seeds // 2) * (seeds - seeds // 2)
    excess = product * (between**-2 - 1)
    noise = 2 * excess / (seeds + np.sqrt(seeds**2 + 4 * excess))
    return float(1 / (1 + noise / seeds))


def _halves(truth_ST: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Means over either part, each [T], of every split of the seeds in two."""
    seeds = len(truth_ST)
    for first in combinations(range(seeds), seeds // 2):
        # Halves of the same size come twice, once as either: keep the one with the first seed.
        if 2 * len(first) < seeds or 0 in first:
            rest = np.setdiff1d(np.arange(seeds), first)
            yield truth_ST[list(first)].mean(axis=0), truth_ST[rest].mean(axis=0)


def ceiling(
    truth_ST: Floats, statistic: Statistic = weighted_tau, seed: int = 0, draws: int = 1000
) -> float:
    """What a score that knows the latent truth can be expected to reach against seed means.

    A parametric simulation, the formula ours. With V the variance of the seed means between
    teachers and rho their :func:`reliability`, the latent truth has the variance rho V, and the
    mean of S seeds a noise sigma^2 / S = (1 - rho) V. So

        latent = grand mean + sqrt(rho) (seed mean - grand mean)
        ceiling = E[ statistic(latent, latent + noise) ],   noise ~ N(0, (1 - rho) V)

    It takes the noise to be normal, independent between teachers, and of the same size for all of
    them, and the latent truth to be distributed as the seed means are. A score can surpass it by
    chance, or by sharing the truth's noise, as one computed on the test images would.

    Args:
        truth_ST: accuracy of each teacher for each seed.
        statistic: of score and truth, both [T].
        seed: of the simulation.
        draws: how often noise is drawn; the mean's own error is that of one draw / sqrt(draws).

    Raises:
        ValueError: as :func:`reliability`.
    """
    trusted = reliability(truth_ST)
    mean_T = truth_ST.mean(axis=0)
    latent_T = mean_T.mean() + np.sqrt(trusted) * (mean_T - mean_T.mean())
    deviation = np.sqrt((1 - trusted) * mean_T.var(ddof=1)) if len(mean_T) > 1 else 0.0
    noise_BT = np.random.default_rng(seed).normal(0.0, deviation, (draws, len(mean_T)))
    return float(np.mean([statistic(latent_T, latent_T + noise_T) for noise_T in noise_BT]))


# Over tasks and seeds


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval.

    Attributes:
        mean: of the tasks' means.
        low: its 2.5 % bootstrap quantile; NaN where there is one value only, and so no idea.
        high: its 97.5 % bootstrap quantile; NaN likewise.
        over: what was resampled, that is to what else the interval speaks: "tasks and seeds",
            "tasks" where each has one value, "seeds" of one task, or "nothing".
    """

    mean: float
    low: float
    high: float
    over: str


def interval_over_tasks(
    values_by_task: Sequence[Floats], seed: int = 0, draws: int = 2000
) -> Interval:
    """Mean over tasks of their means over seeds, with a 95 % two-level bootstrap interval.

    Tasks are drawn with replacement, then seeds within each drawn task; low and high are quantiles
    of the resulting means. Of a single task only seeds are drawn: the interval then says nothing
    of other tasks. With few tasks it is too narrow, as every percentile bootstrap is: it covered
    the true mean in 90 % of simulations with 6 tasks of 3 seeds, in 94 % with 12, where tasks and
    seeds varied alike.

    Args:
        values_by_task: a statistic for every seed, [S], of each of J tasks.
        seed: of the bootstrap.
        draws: how many bootstrap means.

    Raises:
        ValueError: there is no task, or a task without value.
    """
    if not values_by_task or any(values_S.size == 0 for values_S in values_by_task):
        raise ValueError("an interval needs tasks, and each of them a value")
    mean = float(np.mean([values_S.mean() for values_S in values_by_task]))
    over = _resampled(values_by_task)
    if over == "nothing":
        return Interval(mean, np.nan, np.nan, over)
    means_B = _bootstrap_means(values_by_task, draws, np.random.default_rng(seed))
    low, high = np.quantile(means_B, [0.025, 0.975])
    return Interval(mean, float(low), float(high), over)


def _resampled(values_by_task: Sequence[Floats]) -> str:
    levels = {
        "tasks": len(values_by_task) > 1,
        "seeds": any(len(values_S) > 1 for values_S in values_by_task),
    }
    return " and ".join(name for name, is_drawn in levels.items() if is_drawn) or "nothing"


def _bootstrap_means(
    values_by_task: Sequence[Floats], draws: int, generator: np.random.Generator
) -> Floats:
    """Means of B two-level resamples."""
    count_J = np.array([len(values_S) for values_S in values_by_task])
    padded_JS = np.zeros((len(count_J), count_J.max()))
    for row_S, values_S in zip(padded_JS, values_by_task, strict=True):
        row_S[: len(values_S)] = values_S
    task_BJ = generator.integers(len(count_J), size=(draws, len(count_J)))
    count_BJ = count_J[task_BJ]
    seed_BJS = generator.integers(count_BJ[..., None], size=(*task_BJ.shape, count_J.max()))
    taken_BJS = padded_JS[task_BJ[..., None], seed_BJS]
    # A task is as many draws of its seeds as it has seeds, not as the padding is long.
    is_taken_BJS = np.arange(count_J.max()) < count_BJ[..., None]
    mean_BJ = (taken_BJS * is_taken_BJS).sum(axis=2) / count_BJ
    means_B: Floats = mean_BJ.mean(axis=1)
    return means_B


@dataclass(frozen=True)
class PairedTest:
    """Whether one ranker is better than another over tasks.

    Attributes:
        difference: of the first less the second, with its interval.
        p_value: two-sided, of the hypothesis that on every task either was as likely to be ahead.
    """

    difference: Interval
    p_value: float


def paired_test(first_by_task: Sequence[Floats], second_by_task: Sequence[Floats]) -> PairedTest:
    """Compare two rankers on the same tasks and seeds.

    The p-value is that of a sign-flip permutation test on the tasks' mean differences: the share
    of sign assignments whose mean is as extreme. All 2^J are counted up to 16 tasks, beyond that as
    many are drawn, by a fixed seed. It cannot be below 2 / 2^J: at least 6 tasks are needed to fall
    under .05. One task cannot tell anything: p = 1.

    Args:
        first_by_task: a statistic for every seed, [S], of each of J tasks.
        second_by_task: of the other, for the same seeds; [1] where it does not depend on them.

    Raises:
        ValueError: there are not as many tasks, or seeds do not pair, or as
            :func:`interval_over_tasks`.
    """
    pairs = zip(first_by_task, second_by_task, strict=True)
    differences = [first_S - second_S for first_S, second_S in pairs]
    mean_J = np.array([difference_S.mean() for difference_S in differences])
    return PairedTest(interval_over_tasks(differences), _sign_flip_p_value(mean_J))


def _sign_flip_p_value(mean_J: Floats) -> float:
    if len(mean_J) < 2:
        return 1.0
    found = stats.permutation_test(
        (mean_J,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_EXACT_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
