"""How sure a rank is: a paired bootstrap over the probe images, the same for all teachers.

Legend: T teachers, N probe images, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2_000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Certainty:
    """How sure the rank of one teacher among others is.

    Attributes:
        low: the best rank of its 95 % interval.
        high: the worst.
        first: share of the resamples in which no other teacher costs less.
        beats: share of the resamples in which it costs less than each other teacher, by name.
    """

    low: int
    high: int
    first: float
    beats: dict[str, float]


def certainty_of(
    teacher: str, image_costs: dict[str, NDArray[np.float32]], better: int = 0, seed: int = 0
) -> Certainty:
    """The certainty of one teacher's rank (percentile bootstrap of ranks, Efron 1979).

    Every resample draws N probe images with replacement, the same for all teachers: what makes an
    image hard for all of them cancels, so ranks are surer than the intervals of costs suggest. It
    tells of the choice of images only, not of the seed, the folds or the weights.

    Args:
        teacher: whose rank.
        image_costs: cost of every image, [N], of the teacher and of all that might stand elsewhere.
        better: how many other teachers are better for sure, and not in ``image_costs``.
        seed: of the resamples.

    Raises:
        ValueError: the teachers were not asked about equally many images.
    """
    names = list(image_costs)
    cost_TN = np.stack([image_costs[name] for name in names]).astype(np.float64)
    mean_RT = _resampled_means(cost_TN, seed)
    own_R1 = mean_RT[:, [names.index(teacher)]]
    rank_R = 1 + better + (mean_RT < own_R1).sum(axis=1)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(rank_R, [tail, 1 - tail], method="closest_observation")
    # Of equal costs, such as those of a copy, each is cheaper half of the time.
    beats_T = ((own_R1 < mean_RT) + 0.5 * (own_R1 == mean_RT)).mean(axis=0)
    return Certainty(
        low=int(low),
        high=int(high),
        first=float((rank_R == 1).mean()),
        beats={name: float(share) for name, share in zip(names, beats_T, strict=True)},
    )


def _resampled_means(cost_TN: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Mean costs [R, T] of resamples of the images."""
    images = cost_TN.shape[1]
    draws_RN = np.random.default_rng(seed).multinomial(
        images, np.full(images, 1 / images), size=_RESAMPLES
    )
    mean_RT: NDArray[np.float64] = draws_RN @ cost_TN.T / images
    return mean_RT
