"""Matrix products of the shapes that transport needs."""

from __future__ import annotations

from torch import Tensor


def narrow_product(left_BK: Tensor, right_KM: Tensor) -> Tensor:
    """``left @ right``, [B, M], for a right side with far fewer columns than rows.

    BLAS libraries keep a column of the result as their fast dimension. Asked for the transpose,
    that is the many samples instead of the few target classes: up to four times as fast.
    """
    return (right_KM.T @ left_BK.T).T
