"""Encoded images in one buffer: read once, checked, and handed to every worker without a copy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rayxkd.data.decoding import decode_image
from rayxkd.data.images import ImageSet
from rayxkd.errors import UserError

# Above this share of unreadable images something else is wrong than a few bad files.
_CORRUPT_SHARE = 0.01


class ImageBuffer:
    """What :class:`EncodedImages` and :class:`ProbeSet` share: encoded images by their place.

    It is no dataclass, so that each of them lists its fields in its own order.

    Attributes:
        buffer: the encoded images one after another, uint8.
        ends_N: where each image ends in the buffer, int64.
    """

    buffer: NDArray[np.uint8]
    ends_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends_N)

    @cached_property
    def digests(self) -> list[str]:
        """SHA-256 of each encoded image, in hexadecimal: equal where the files are the same."""
        return [hashlib.sha256(self.encoded(place)).hexdigest() for place in range(len(self))]

    def encoded(self, place: int) -> bytes:
        """One image's file content."""
        start = self.ends_N[place - 1] if place else 0
        return self.buffer[start : self.ends_N[place]].tobytes()

    def decoded(self, place: int) -> Image.Image:
        """One image in its own size, RGB or grey: see :func:`decode_image`."""
        return decode_image(self.encoded(place))

    def taken(self, places: NDArray[np.int64]) -> EncodedImages:
        """Some of the images, in that order, in a buffer of their own."""
        return EncodedImages.of([self.encoded(place) for place in places.tolist()])


@dataclass(frozen=True)
class EncodedImages(ImageBuffer):
    """N images, encoded as they were found, in one buffer.

    NumPy arrays only: Ray's object store gives them to every worker of a node without a copy.

    Attributes:
        buffer: the encoded images one after another, uint8.
        ends_N: where each image ends in the buffer, int64.
    """

    buffer: NDArray[np.uint8]
    ends_N: NDArray[np.int64]

    @classmethod
    def of(cls, contents: Sequence[bytes]) -> EncodedImages:
        """Encoded images, one after another."""
        return cls(
            np.frombuffer(b"".join(contents), dtype=np.uint8),
            np.cumsum([len(content) for content in contents], dtype=np.int64),
        )

    def first(self, count: int) -> EncodedImages:
        """The images at the first places; the buffer is shared."""
        end = int(self.ends_N[count - 1]) if count else 0
        return EncodedImages(self.buffer[:end], self.ends_N[:count])


def read_encoded(
    images: ImageSet, indices: Sequence[int] | NDArray[np.int64]
) -> tuple[EncodedImages, NDArray[np.int64]]:
    """Read some images and check that each can be decoded; those that cannot are left out.

    Args:
        images: where they are read from.
        indices: places in the image set, in any order.

    Returns:
        The images that can be decoded, in the order of ``indices``, and their places: int64 [N].

    Raises:
        UserError: more than 1 % of the images cannot be decoded, or their file cannot be read.
    """
    indices_I = np.asarray(indices, dtype=np.int64)
    contents = images.read(indices_I.tolist())
    good_I = np.array([_is_image(content) for content in contents], dtype=bool)
    unreadable = len(contents) - int(good_I.sum())
    if unreadable > _CORRUPT_SHARE * len(contents):
        raise UserError(
            f"{images.address}: {unreadable} of {len(contents)} images cannot be decoded "
            f"(first: number {good_I.argmin()} of the sample); mend or remove them"
        )
    kept = [content for content, good in zip(contents, good_I, strict=True) if content and good]
    return EncodedImages.of(kept), indices_I[good_I]


def _is_image(content: bytes | None) -> bool:
    if not content:
        return False
    try:
        decode_image(content)
    except Exception:
        return False
    return True
