"""Views: crops and mirror images by which a few images become many.

A view of an image depends on nothing but its number and the image's own digest, so that whoever
asks for view 3 of an image gets the same pixels: what a teacher said of it can be kept and shared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

# Share of the image's area that a crop keeps, at least.
_LEAST_AREA = 0.5


class Decodable(Protocol):
    """Images that can be decoded one by one."""

    def __len__(self) -> int: ...

    def decoded(self, place: int) -> Image.Image:
        """One image, in its own size, RGB or grey."""


@dataclass(frozen=True)
class View:
    """A part of an image.

    Attributes:
        box: left, top, right, bottom as fractions of width and height.
        mirrored: left and right are exchanged.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    mirrored: bool = False

    def of(self, image: Image.Image) -> Image.Image:
        """This part of an image."""
        if self.box != (0.0, 0.0, 1.0, 1.0):
            width, height = image.size
            left, top, right, bottom = self.box
            image = image.crop(
                (
                    round(left * width),
                    round(top * height),
                    max(round(right * width), round(left * width) + 1),
                    max(round(bottom * height), round(top * height) + 1),
                )
            )
        return ImageOps.mirror(image) if self.mirrored else image


def random_view(rng: np.random.Generator) -> View:
    """A crop of the image's own shape that keeps half of its area or more; mirrored or not."""
    side = float(np.sqrt(rng.uniform(_LEAST_AREA, 1.0)))
    left, top = (float(offset) for offset in rng.uniform(0.0, 1.0 - side, size=2))
    return View((left, top, left + side, top + side), bool(rng.integers(2)))


def fixed_view(number: int, image_digest: str) -> View:
    """View 0 is the image as it is, 1 its mirror image, and all others are random crops.

    Args:
        number: which view, not negative.
        image_digest: SHA-256 of the encoded image: the seed of its crops.

    Raises:
        ValueError: a negative number.
    """
    if number < 0:
        raise ValueError(f"views are numbered from 0, not {number}")
    if number <= 1:
        return View(mirrored=number == 1)
    seed = hashlib.sha256(f"{image_digest}:{number}".encode()).digest()
    return random_view(np.random.default_rng(int.from_bytes(seed[:8], "little")))


@dataclass(frozen=True)
class Viewed:
    """Images, each seen through a view of its own.

    Attributes:
        images: the images.
        places: which of them, one an entry.
        views: one view an entry.
    """

    images: Decodable
    places: tuple[int, ...]
    views: tuple[View, ...]

    def __len__(self) -> int:
        return len(self.places)

    def decoded(self, place: int) -> Image.Image:
        """What one view shows, RGB or grey."""
        return self.views[place].of(self.images.decoded(self.places[place]))
