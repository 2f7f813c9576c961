"""Images as the student sees them: views and augmentation.

Legend: B images of a batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from rayxkd.data import EncodedImages
from rayxkd.data.views import View, Viewed, fixed_view
from rayxkd.teachers import Preprocessing
from rayxkd.teachers.preprocess import decode

# Fixed views are decoded once where they fit into so many bytes, else in every step.
_KEPT_BYTES = 2 * 1024**3
# Shifts of up to this share of the side.
_SHIFT = 8


class ViewedPixels:
    """The pixels of images at fixed views, decoded and resized once.

    Args:
        images: the images.
        preprocessing: size, interpolation, mean and std.
        views: how many fixed views there are of each.
    """

    def __init__(self, images: EncodedImages, preprocessing: Preprocessing, views: int = 1) -> None:
        self._images = images
        self._preprocessing = preprocessing
        self._views = views
        size = len(images) * views * int(np.prod(preprocessing.input_size))
        self._kept_RCHW = self._decode_all() if size <= _KEPT_BYTES else None

    def __len__(self) -> int:
        return len(self._images)

    def fixed(self, places_B: NDArray[np.int64], views_B: NDArray[np.int64]) -> Tensor:
        """Pixels of some images at fixed views, uint8 [B, C, H, W]."""
        if self._kept_RCHW is not None:
            return self._kept_RCHW[torch.from_numpy(places_B * self._views + views_B)]
        views = [
            fixed_view(int(view), self._images.digests[place])
            for place, view in zip(places_B, views_B, strict=True)
        ]
        return self.at(places_B, views)

    def at(self, places_B: NDArray[np.int64], views: Sequence[View]) -> Tensor:
        """Pixels of some images at any views, uint8 [B, C, H, W]."""
        seen = Viewed(self._images, tuple(places_B.tolist()), tuple(views))
        return decode(seen, self._preprocessing)

    def _decode_all(self) -> Tensor:
        places = np.repeat(np.arange(len(self._images)), self._views)
        numbers = np.tile(np.arange(self._views), len(self._images))
        views = [
            fixed_view(int(n), self._images.digests[p])
            for p, n in zip(places, numbers, strict=True)
        ]
        return self.at(places, views)


def augmented(pixels_BCHW: Tensor, how: str, rng: np.random.Generator) -> Tensor:
    """Pixels after an augmentation: ``none``, ``crop`` or ``strong``.

    Args:
        pixels_BCHW: uint8.
        how: ``crop`` shifts each image by up to an eighth of its side, the border mirrored;
            ``strong`` then changes its colours and shape (RandAugment, Cubuk et al. 2020,
            https://arxiv.org/abs/1909.13719), with torch's global seed.
        rng: of the shifts.
    """
    if how == "none":
        return pixels_BCHW
    count, _, height, width = pixels_BCHW.shape
    border = [max(1, width // _SHIFT), max(1, height // _SHIFT)]
    padded = v2.functional.pad(pixels_BCHW, border, padding_mode="reflect")
    lefts = rng.integers(0, 2 * border[0] + 1, size=count)
    tops = rng.integers(0, 2 * border[1] + 1, size=count)
    shifted = [
        image[:, top : top + height, left : left + width]
        for image, top, left in zip(padded, tops, lefts, strict=True)
    ]
    if how == "strong":
        change = v2.RandAugment()
        shifted = [change(image) for image in shifted]
    return torch.stack(shifted)
