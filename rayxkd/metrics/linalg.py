"""The few steps of linear algebra that more than one metric needs; float64 in, float64 out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps


def one_hot(labels_N: Tensor, num_classes: int) -> Tensor:
    """Indicator columns of the classes, float64 [N, M]."""
    return torch.nn.functional.one_hot(labels_N, num_classes).double()


def left_singular(rows_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors and values of a matrix, up to its numerical rank R <= min(N, D).

    Returns:
        Vectors [N, R] with orthonormal columns, and values [R], all positive.
    """
    wide = rows_ND.shape[0] < rows_ND.shape[1]
    # A wide matrix is L Q with orthonormal rows in Q, so the small L [N, N] has the same left side:
    # a teacher of 22k classes costs one QR, and the Gram matrix would square the rounding error.
    core = torch.linalg.qr(rows_ND.T, mode="r")[1].T if wide else rows_ND
    vectors, values, _ = torch.linalg.svd(core, full_matrices=False)
    kept = values > max(rows_ND.shape) * EPSILON * values[0]
    return vectors[:, kept], values[kept]


def centred(rows_ND: Tensor) -> Tensor:
    """Rows less their mean [N, D]; exactly zero in a column that is constant."""
    centred_ND = rows_ND - rows_ND.mean(dim=0)
    # Subtracting the mean leaves rounding noise in a constant column, which is no signal.
    noise_D = len(rows_ND) * EPSILON * rows_ND.abs().amax(dim=0)
    return torch.where(centred_ND.abs().amax(dim=0) > noise_D, centred_ND, 0.0)


def principal_components(rows_ND: Tensor) -> Tensor:
    """Coordinates of rows along their principal axes [N, R], those of most variance first.

    Distances between rows are kept; R <= min(N - 1, D), and 0 if all rows are equal.
    """
    left_NR, singular_R = left_singular(centred(rows_ND))
    return left_NR * singular_R


def order_of_rows(rows_ND: Tensor) -> Tensor:
    """Indices [N] that put rows into lexicographic order.

    What is drawn at random from images so ordered does not depend on the order they came in.
    """
    order = np.lexsort(rows_ND.numpy(force=True).T[::-1])
    return torch.from_numpy(order).to(rows_ND.device)


def cosine(rows_ND: Tensor) -> Tensor:
    """Cosine similarity of each pair of rows [N, N]; zero with a row that is zero."""
    length_N1 = torch.linalg.vector_norm(rows_ND, dim=1, keepdim=True)
    unit_ND = torch.where(length_N1 > 0, rows_ND / length_N1, 0.0)
    return unit_ND @ unit_ND.T


def pearson(rows_ND: Tensor) -> Tensor:
    """Pearson correlation of each pair of rows [N, N]; zero with a row that is constant."""
    centred_ND = rows_ND - rows_ND.mean(dim=1, keepdim=True)
    # Subtracting the mean leaves rounding noise in a constant row; that must not pass for a signal.
    noise_N1 = rows_ND.shape[1] * EPSILON * rows_ND.abs().amax(dim=1, keepdim=True)
    return cosine(torch.where(centred_ND.abs() > noise_N1, centred_ND, 0.0))
