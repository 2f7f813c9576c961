"""Means over tasks and seeds: their intervals, and whether two of them differ.

Legend: S seeds, J tasks, B random draws. The S of a task need not be that of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rayxkd.study.correlations import Floats

# Sign flips up to this many are counted out, that is for up to 16 tasks; more are drawn.
_EXACT_FLIPS = 2**16


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
