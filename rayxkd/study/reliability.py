"""How far the truth itself can be trusted.

Legend: T teachers, S seeds, B random draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from rayxkd.study.correlations import Floats, pearson, weighted_tau

Statistic = Callable[[Floats, Floats], float]


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
