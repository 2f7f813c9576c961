"""A task as sketches are compared with it: a few prototypes of each of its classes.

Legend: N images, M target classes, J target prototypes, D dimensions of the space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PROTOTYPES_A_CLASS = 2


@dataclass(frozen=True)
class Target:
    """A task in the space.

    Attributes:
        prototypes_JD: unit vectors, float32.
        label_J: class of each, int64 in [0, M).
        images_J: how many images each stands for, float64.
        num_classes: M.
    """

    prototypes_JD: NDArray[np.float32]
    label_J: NDArray[np.int64]
    images_J: NDArray[np.float64]
    num_classes: int


def make_target(
    places_ND: NDArray[np.float64], labels_N: NDArray[np.int64], num_classes: int
) -> Target:
    """Two prototypes a class by k-means, which keeps apart what looks apart.

    Args:
        places_ND: unit vectors of the probe images in the space.
        labels_N: their classes.
        num_classes: M.
    """
    from sklearn.cluster import KMeans

    prototypes, labels, images = [], [], []
    for label in range(num_classes):
        of_class_BD = places_ND[labels_N == label]
        count = min(PROTOTYPES_A_CLASS, len(np.unique(of_class_BD, axis=0)))
        if not count:
            continue
        group_B = KMeans(count, n_init=4, random_state=0).fit_predict(of_class_BD)
        for group in range(count):
            prototypes.append(of_class_BD[group_B == group].mean(axis=0))
            labels.append(label)
            images.append((group_B == group).sum())
    prototypes_JD = np.array(prototypes)
    length_J = np.linalg.norm(prototypes_JD, axis=1, keepdims=True)
    return Target(
        (prototypes_JD / np.maximum(length_J, 1e-12)).astype(np.float32),
        np.array(labels, dtype=np.int64),
        np.array(images, dtype=np.float64),
        num_classes,
    )
