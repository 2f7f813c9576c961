"""Limited-memory BFGS for many independent convex problems at once.

Legend: B problems; a point is a tensor [R, B, M] so that the objective of all problems is one
matrix product. Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]


def minimise_batch(
    objective: Objective,
    start_RBM: Tensor,
    *,
    tolerance: float,
    max_iterations: int = 500,
    memory: int = 10,
) -> Tensor:
    """Minimise B smooth convex functions, each over its own slice [R, M].

    Args:
        objective: maps points [R, B, M] to (values [B], gradients [R, B, M]).
        start_RBM: where to begin, float64.
        tolerance: a problem is finished when the largest entry of its gradient is below this.
        max_iterations: bound on the iterations of all problems together.
        memory: how many curvature pairs are kept.

    Returns:
        The minimisers [R, B, M].
    """
    point = start_RBM
    value_B, gradient = objective(point)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=memory)
    for _ in range(max_iterations):
        running_B = gradient.abs().amax(dim=(0, 2)) > tolerance
        if not running_B.any():
            break
        direction = _direction(gradient, pairs) * running_B[:, None]
        step, value_B, new_gradient = _line_search(objective, point, direction, value_B, gradient)
        change = new_gradient - gradient
        curvature_B = _dot(step, change)
        # A problem that is finished or stuck contributes no curvature: its pair is blanked.
        inverse_B = torch.where(curvature_B > 1e-300, 1 / curvature_B, 0.0)
        pairs.append((step, change, inverse_B))
        point, gradient = point + step, new_gradient
        if not (step != 0).any():
            break
    return point


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("rbm,rbm->b", left, right)


def _direction(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The quasi-Newton direction of each problem (two-loop recursion)."""
    direction = -gradient
    weights = []
    for step, change, inverse_B in reversed(pairs):
        weight_B = inverse_B * _dot(step, direction)
        direction = direction - weight_B[:, None] * change
        weights.append(weight_B)
    if pairs:
        _, change, inverse_B = pairs[-1]
        scale_B = 1 / (inverse_B * _dot(change, change))
        direction = direction * torch.where(inverse_B > 0, scale_B, 1.0)[:, None]
    for (step, change, inverse_B), weight_B in zip(pairs, reversed(weights), strict=True):
        direction = direction + (weight_B - inverse_B * _dot(change, direction))[:, None] * step
    return direction


def _line_search(
    objective: Objective, point: Tensor, direction: Tensor, value_B: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve each problem's step until it decreases enough (Armijo); give up at a zero step."""
    slope_B = _dot(direction, gradient)
    length_B = (slope_B < 0).double()
    for _ in range(40):
        step = length_B[:, None] * direction
        new_value_B, new_gradient = objective(point + step)
        # Rounding: near the minimum a value may not fall any more although the step is right.
        slack_B = 1e-14 * value_B.abs()
        bad_B = (new_value_B > value_B + 1e-4 * length_B * slope_B + slack_B) & (length_B > 0)
        if not bad_B.any():
            return step, new_value_B, new_gradient
        length_B = torch.where(bad_B, length_B / 2, length_B)
    length_B = torch.where(bad_B, 0.0, length_B)
    step = length_B[:, None] * direction
    return step, *objective(point + step)
