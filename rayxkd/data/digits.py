"""The demo's images: 1,797 scans of handwritten digits that come with scikit-learn.

8 x 8 pixels, grey (Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits). A
fixed shuffle gives most scans to the demo's teachers and keeps the rest for the target task, so
that no teacher has seen an image of the task.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rayxkd.data.images import ImageSet
from rayxkd.errors import UserError, unknown_name

DEMO_SCHEME = "demo://"
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TARGET_DIGITS = (5, 6, 7, 8, 9)
LABELS_PER_CLASS = 20
_FOR_TEACHERS = 1_200
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class Digits:
    """Scans as uint8 pixels [N, 8, 8] (0 paper, 255 ink) and the digit that each shows [N]."""

    pixels: NDArray[np.uint8]
    digits_N: NDArray[np.int64]

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Digits:
        """Some of the scans."""
        return Digits(self.pixels[index], self.digits_N[index])


def digits_for_teachers() -> Digits:
    """The scans that the demo's teachers learn from."""
    return _shuffled_digits().rows(slice(None, _FOR_TEACHERS))


class DigitImageSet(ImageSet):
    """The demo's task: tell five, six, seven, eight and nine apart from 20 labels each.

    ``demo://`` and ``demo://train`` are the labelled images, ``demo://test`` all others.

    Raises:
        UserError: another split is asked for.
    """

    def __init__(self, address: str) -> None:
        split = address.removeprefix(DEMO_SCHEME) or "train"
        if split not in _SPLITS:
            raise unknown_name("split of demo://", split, _SPLITS)
        self.address = address
        self.class_names = tuple(DIGIT_NAMES[digit] for digit in TARGET_DIGITS)
        kept = _shuffled_digits().rows(slice(_FOR_TEACHERS, None))
        labelled, rest = [], []
        for digit in TARGET_DIGITS:
            places = np.flatnonzero(kept.digits_N == digit)
            labelled.append(places[:LABELS_PER_CLASS])
            rest.append(places[LABELS_PER_CLASS:])
        self._digits = kept.rows(np.sort(np.concatenate(labelled if split == "train" else rest)))
        self.labels_N = self._digits.digits_N - TARGET_DIGITS[0]

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`; PNG."""
        return [_png(self._digits.pixels[index]) for index in indices]


@cache
def _shuffled_digits() -> Digits:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("demo:// needs scikit-learn: install it") from error
    source = load_digits()
    order = np.random.default_rng(0).permutation(len(source.target))
    pixels = np.round(source.images * (255 / 16)).astype(np.uint8)
    return Digits(pixels[order], source.target.astype(np.int64)[order])


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
