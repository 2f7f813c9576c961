"""The order in which the images of a probe set are asked about: every part of it is stratified."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Below this number of images of some class no cost can be cross-fitted.
FEWEST_OF_A_CLASS = 2


def race_order(labels_N: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """Places of the images, int64 [N]: any first part has its share of every class.

    Two images of every class come first; then the j-th of n images of a class stands at (j + 1/2) /
    n of the way. Images within a class, and equal places, are shuffled.

    Args:
        labels_N: target labels.
        seed: of the shuffle.
    """
    generator = np.random.default_rng([seed, 3])
    order = generator.permutation(len(labels_N))
    tie_N = generator.random(len(labels_N))
    way_N = np.empty(len(labels_N))
    for label in np.unique(labels_N):
        of_class = order[labels_N[order] == label]
        way_N[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
        way_N[of_class[:FEWEST_OF_A_CLASS]] -= 1
    return np.lexsort((tie_N, way_N))
