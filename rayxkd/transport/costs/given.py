"""Matrices that come from outside: checked once, in the user's words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rayxkd.errors import UserError

# What a user may give where numbers are asked for: a tensor, a NumPy array or nested lists.
Matrix = Tensor | ArrayLike


def finite_matrix(values: Matrix, what: str) -> Tensor:
    """A copy of ``values`` as a float64 tensor [rows, columns] on the CPU.

    Args:
        values: real numbers.
        what: what they are, to begin an error with, such as ``"the cost matrix"``.

    Raises:
        UserError: not numbers, not two-dimensional, or not finite.
    """
    array = real_array(values, what)
    if array.ndim != 2:
        raise UserError(f"{what} must have two dimensions, not the shape {array.shape}")
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise UserError(f"{what} must be finite: {count} of {array.size} entries are NaN or inf")
    return torch.from_numpy(array)


def check_shape(cost_KM: Tensor, what: str, source_classes: int, target_classes: int) -> None:
    """Refuse a cost matrix that does not lie between so many teacher and target classes.

    Raises:
        UserError: another shape.
    """
    shape, wanted = tuple(cost_KM.shape), (source_classes, target_classes)
    if shape != wanted:
        hint = ": transpose it" if shape == wanted[::-1] else ""
        raise UserError(
            f"{what} has the shape {shape}, but {source_classes} teacher classes (rows) and "
            f"{target_classes} target classes (columns) need {wanted}{hint}"
        )


def real_array(values: Matrix, what: str) -> NDArray[np.float64]:
    """A float64 copy of real numbers, of any shape.

    Raises:
        UserError: not numbers, or rows of different lengths.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        values = values.double().numpy() if values.is_floating_point() else values.numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise UserError(f"{what} must have rows of one length") from error
    if array.dtype.kind not in "fiub":
        raise UserError(f"{what} must hold real numbers, not {array.dtype}")
    return np.array(array, dtype=np.float64)
