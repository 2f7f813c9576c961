"""C[k, m] as the user gives it, as a matrix or by a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rayxkd.transport.costs.base import FittedCost, GroundCost, LabelFreeCost
from rayxkd.transport.costs.given import Matrix, check_shape, finite_matrix
from rayxkd.transport.predictions import Predictions


@dataclass(frozen=True, eq=False)
class MatrixCost(LabelFreeCost):
    """The user's own matrix, as it is.

    Assumes that rows stand in the order of the teacher's classes and columns in that of the
    target's, and that the numbers mean the same for every teacher that is compared. Fails
    silently where they do not: a matrix of the right shape in the wrong order is not noticed. It
    fits teachers with one label space only.

    Attributes:
        cost_KM: a tensor or NumPy array [K, M] of any real dtype, finite, of any sign; kept as a
            float64 copy.
        temperature: temperature of the teacher's softmax.

    Raises:
        UserError: at once, where it is no finite matrix; when fitted, where its shape is not
            [K, M].
    """

    name: ClassVar[str] = "matrix"
    unit: ClassVar[str] = "as given"
    cost_KM: Matrix
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost_KM", finite_matrix(self.cost_KM, "the cost matrix"))

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:  # noqa: ARG002
        """See :meth:`GroundCost.fit`; labels are not looked at."""
        cost_KM = torch.as_tensor(self.cost_KM)
        check_shape(cost_KM, "the cost matrix", predictions.num_classes, num_classes)
        return FittedCost(cost_KM, self.temperature)


@dataclass(frozen=True, eq=False)
class CallableCost(GroundCost):
    """C = function(predictions, labels_N, num_classes), called for each fold on the others' images.

    Assumes that the function is a function of its arguments: where it remembers labels of earlier
    calls, or looks them up elsewhere, images are scored by a cost that saw their labels. Its scale
    is its own: costs of two teachers compare only as far as the function makes them comparable.

    Attributes:
        function: gets the teacher's predictions on N images, their labels (int64 [N]) and M; gives
            a tensor or NumPy array [K, M], real and finite, of any sign. What it raises is passed
            on.
        temperature: temperature of the teacher's softmax when mass is moved; the function is not
            told.

    Raises:
        UserError: when fitted, where the answer is no finite matrix [K, M].
    """

    name: ClassVar[str] = "callable"
    unit: ClassVar[str] = "as given"
    function: Callable[[Predictions, Tensor, int], Matrix]
    temperature: float = 1.0

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """See :meth:`GroundCost.fit`."""
        what = f"the cost from {getattr(self.function, '__name__', 'the function')}"
        cost_KM = finite_matrix(self.function(predictions, labels_N, num_classes), what)
        check_shape(cost_KM, what, predictions.num_classes, num_classes)
        return FittedCost(cost_KM, self.temperature)
