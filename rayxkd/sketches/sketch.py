"""A sketch: what is kept of a teacher so that it can be compared with any task, unloaded.

Legend: R reference images, K teacher classes, P prototypes, D dimensions of the space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayxkd.transport import Predictions

# A teacher with more classes keeps those that hold most of the mass, and the others as one.
MOST_PROTOTYPES = 256


@dataclass(frozen=True)
class Sketch:
    """What a teacher says of the reference images, in short.

    Attributes:
        prototypes_PD: mean place in the space of the images of each of its classes, float32; the
            length, at most 1, tells how alike these images are.
        mass_P: share of the reference images that it puts into each class, float32; sums to one.
        classes_P: which of its classes, int32; -1 is all those that have no prototype of their own.
        confidence: mean of its largest probability on the reference images.
        information: H(mean p) - mean H(p) in nats: how much its answer tells which image it saw.
    """

    prototypes_PD: NDArray[np.float32]
    mass_P: NDArray[np.float32]
    classes_P: NDArray[np.int32]
    confidence: float
    information: float


def make_sketch(predictions: Predictions, places_RD: NDArray[np.float64]) -> Sketch:
    """Soft class prototypes sum_r p_rk x_r / sum_r p_rk and masses (ours).

    Numbers are rounded to half precision, which halves the file and changes no rank to speak of.

    Args:
        predictions: the teacher's output on the reference images.
        places_RD: unit vectors of these images in the space.
    """
    p_RK = predictions.probabilities_NK(1.0).double().numpy()
    mass_K = p_RK.mean(axis=0)
    sums_KD = p_RK.T @ places_RD / len(p_RK)
    kept_P = np.sort(np.argsort(-mass_K, kind="stable")[:MOST_PROTOTYPES])
    if len(kept_P) < len(mass_K):
        kept_P = np.sort(np.argsort(-mass_K, kind="stable")[: MOST_PROTOTYPES - 1])
    rest = np.setdiff1d(np.arange(len(mass_K)), kept_P)
    if len(rest):
        mass_K = np.append(mass_K[kept_P], mass_K[rest].sum())
        sums_KD = np.vstack([sums_KD[kept_P], sums_KD[rest].sum(axis=0)])
        kept_P = np.append(kept_P, -1)
    tiny = np.finfo(np.float64).tiny
    entropy_R = -(p_RK * np.log(np.maximum(p_RK, tiny))).sum(axis=1)
    mean_K = p_RK.mean(axis=0)
    information = -(mean_K * np.log(np.maximum(mean_K, tiny))).sum() - entropy_R.mean()
    return Sketch(
        _half(sums_KD / np.maximum(mass_K, tiny)[:, None]),
        (mass_K / mass_K.sum()).astype(np.float32),
        kept_P.astype(np.int32),
        float(p_RK.max(axis=1).mean()),
        float(information),
    )


def _half(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float16).astype(np.float32)
