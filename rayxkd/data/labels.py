"""Labels of images from what stands beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rayxkd.errors import UserError


def labels_of_names(
    address: str, names: Sequence[str], known: Sequence[str] = ()
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes and labels of images that are each labelled with a name or a number.

    Args:
        address: of the images, for errors.
        names: one an image.
        known: the classes by their numbers, where these are told.

    Returns:
        The class names: ``known``, or the different labels in order, whole numbers by their size;
        and the labels, int64 [N].

    Raises:
        UserError: an image without a label, or a label that is not among the known.
    """
    if "" in names:
        raise UserError(f"{address}: image {names.index('') + 1} has no label; leave it out")
    found = sorted(set(names), key=_in_order)
    if known:
        numbers = {str(number): number for number in range(len(known))}
        place = numbers | {name: number for number, name in enumerate(known)}
        unknown = [name for name in found if name not in place]
        if unknown:
            raise UserError(f"{address}: '{unknown[0]}' is none of its {len(known)} classes")
        return tuple(known), np.array([place[name] for name in names], dtype=np.int64)
    place = {name: number for number, name in enumerate(found)}
    return tuple(found), np.array([place[name] for name in names], dtype=np.int64)


def _in_order(name: str) -> tuple[int, str]:
    """Whole numbers by size, before all other names."""
    if name.isascii() and name.isdigit() and len(name) < 19:
        return int(name), name
    return 10**19, name
