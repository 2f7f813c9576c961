"""How sure it is, after a part of the probe set, that a teacher cannot be among the best.

Legend: T teachers, N images of the probe set, P of them that were asked about so far, L leaders,
R resamples.

What the exhaustive scan would find are mean costs over all N images, each cross-fitted to the
others. After P images there are three differences between this and what is known:

1. Costs that are fitted to fewer images are higher, and not equally so for all teachers: a teacher
   that tells more has more to fit. So costs are compared at equal P only, and the fall to come is
   extrapolated, image by image, from a second fit of the same images (ours). With a cost c that is
   fitted to four fifths of them, as the scan does in five folds, and a coarse cost c' that is
   fitted to half, in two folds, the value is ``v = c - GAIN (1 - P / N) (c' - c)``. A learning
   curve b / t in the number t of images would give GAIN = 5 / 3, and b / t^2 about 0.65;
   ``GAIN`` = 1 was chosen on four tasks, see ``tests/benchmarks/racing.py``.
2. The images are a sample without replacement. Teachers are compared on the same images, so that
   what makes an image hard for all of them cancels: the difference d of two teachers' values has
   the mean ``gap`` and the standard error ``s_d sqrt(1 / P - 1 / N)`` (finite population
   correction, Cochran, Sampling Techniques, 1977, section 2.6; strata only make it smaller).
3. Costs of images in different folds depend on one another through the fits. The plain variance
   is nevertheless right asymptotically (central limit theorem for cross-validation: Bayle, Bayle,
   Janson and Mackey, NeurIPS 2020). With few images a class it is too small, since all costs move
   together when one fit does: on the four tasks 95 % intervals covered 86 % of the gaps at a fifth
   of 512 images. So errors are widened ``WIDEN`` times, with which they covered 97 %.

A teacher is out when its gap to each of the ``keep`` best is above ``t`` standard errors, Student's
quantile of P - 1 degrees of freedom at ``error / (keep (T - keep) (rounds - 1))``: a union bound
(Bonferroni) over rounds and over the pairs of one teacher that is and one that is not among the
best. Whoever the leaders at hand are, one of them is not among the best if a teacher that is among
them is not a leader, so no other pair can do harm, and choosing leaders by their costs is allowed.

The interval is asymptotic and rests on the extrapolation. A bound without both, such as the
empirical Bernstein inequality (Maurer and Pontil, COLT 2009), needs a range of costs in nats, and
is wider than the whole field at a hundred images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAIN, WIDEN = 1.0, 1.5
COARSE_FOLDS = 2
_RESAMPLES = 2_000
# Teachers that are resampled at a time, to bound the memory.
_CHUNK = 4096


def values(cost_TP: Floats, coarse_TP: Floats, images: int) -> Floats:
    """What each image tells of a teacher's cost after all images: [T, P].

    Args:
        cost_TP: cost of every image, as the scan has it on these images alone.
        coarse_TP: the same, fitted to half of the images.
        images: N.
    """
    left = 1 - cost_TP.shape[1] / images
    extrapolated_TP: Floats = cost_TP - GAIN * left * (coarse_TP - cost_TP)
    return extrapolated_TP


@dataclass(frozen=True)
class Standing:
    """How far each teacher is from the best.

    Attributes:
        value_T: mean value.
        leaders_L: places of the best, the best first, int64.
        gap_T: distance to the leader that a teacher is nearest to in standard errors.
        deviation_T: standard error of that distance.
        ratio_T: the one over the other; 0 or less for a leader, infinite where nothing varies.
    """

    value_T: Floats
    leaders_L: NDArray[np.int64]
    gap_T: Floats
    deviation_T: Floats
    ratio_T: Floats


def standing(value_TP: Floats, keep: int, images: int) -> Standing:
    """Compare every teacher with the ``keep`` best, on the same images.

    Args:
        value_TP: from :func:`values`.
        keep: L, at least 1; fewer where there are fewer teachers.
        images: N.
    """
    seen = value_TP.shape[1]
    value_T = value_TP.mean(axis=1)
    leaders_L = np.argsort(value_T, kind="stable")[:keep]
    spread = _spread(seen, images)
    gap_LT = np.empty((len(leaders_L), len(value_T)))
    deviation_LT = np.empty_like(gap_LT)
    for row, leader in enumerate(leaders_L):
        difference_TP = value_TP - value_TP[leader]
        gap_LT[row] = difference_TP.mean(axis=1)
        deviation_LT[row] = difference_TP.std(axis=1, ddof=1) * spread
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_LT = np.where(gap_LT == 0, 0.0, gap_LT / deviation_LT)
    nearest_T = ratio_LT.argmin(axis=0)
    every_T = np.arange(len(value_T))
    return Standing(
        value_T,
        leaders_L,
        gap_LT[nearest_T, every_T],
        deviation_LT[nearest_T, every_T],
        ratio_LT[nearest_T, every_T],
    )


def quantile(error: float, teachers: int, keep: int, rounds: int, seen: int) -> float:
    """How many standard errors make sure, for all teachers and rounds together.

    Args:
        error: chance that one of the best is out, over the whole race.
        teachers: T, at the start.
        keep: how many best ones there are.
        rounds: in which teachers may go out.
        seen: P.
    """
    # Its import takes a while, and scans that are no races do not need it.
    from scipy.special import stdtrit

    pairs = max(1, keep * (teachers - keep) * rounds)
    return -float(stdtrit(seen - 1, error / pairs))


def chance_of_a_best(on_TP: Floats, out_TP: Floats, keep: int, images: int, seed: int = 0) -> float:
    """Chance that one of those that go out would have been among the best after all images.

    The share of Gaussian multiplier resamples (Chernozhukov, Chetverikov and Kato, Annals of
    Statistics 2013) of the mean values, all teachers on the same images, in which one of them is
    among the ``keep`` lowest: read with a flat prior, since without one no such chance exists.

    Args:
        on_TP: values, from :func:`values`, of those that go on, ``keep`` at least.
        out_TP: of those that go out.
        keep: how many best ones there are.
        images: N.
        seed: of the resamples.
    """
    seen = on_TP.shape[1]
    if not len(out_TP) or seen >= images:
        return 0.0
    scale = _spread(seen, images) / np.sqrt(seen - 1)
    weight_PR = np.random.default_rng(seed).standard_normal((seen, _RESAMPLES)) * scale
    limit_R = np.partition(_resampled(on_TP, weight_PR), keep - 1, axis=0)[keep - 1]
    best_R = np.full(_RESAMPLES, np.inf)
    for start in range(0, len(out_TP), _CHUNK):
        drawn_TR = _resampled(out_TP[start : start + _CHUNK], weight_PR)
        best_R = np.minimum(best_R, drawn_TR.min(axis=0))
    return float((best_R < limit_R).mean())


def _spread(seen: int, images: int) -> float:
    """Standard error of a mean over standard deviation."""
    return float(WIDEN * np.sqrt(max(0.0, 1 / seen - 1 / images)))


def _resampled(value_TP: Floats, weight_PR: Floats) -> Floats:
    mean_T1 = value_TP.mean(axis=1, keepdims=True)
    drawn_TR: Floats = mean_T1 + (value_TP - mean_T1) @ weight_PR
    return drawn_TR
