"""Images as a teacher wants them, by its card: Pillow's resize and crop, as when it was trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rayxkd.cache import LocalCache
from rayxkd.data.views import Decodable
from rayxkd.teachers.card import Preprocessing

# Kinds of pixels that are mapped at a time: a name each, their memory is the kernel's to take back.
_MAPPED_KINDS = 8


class ProbePixels:
    """A probe set, resized and cropped once per distinct preprocessing.

    Teachers that want the same size share the pixels; the last few kinds are kept. With a cache,
    all processes of a machine share them too: one decodes the images, and all map the same file.
    """

    def __init__(
        self, probe: Decodable, kinds: int = 2, cache: LocalCache | None = None, digest: str = ""
    ) -> None:
        """Nothing is decoded yet.

        Args:
            probe: the images.
            kinds: how many kinds of pixels are kept at hand.
            cache: where their files lie; ``None`` keeps them in the memory of this process.
            digest: of the images, for the cache.
        """
        self._probe, self._cache, self._digest = probe, cache, digest
        self._kept = lru_cache(maxsize=kinds)(self._prepare)

    @classmethod
    def of_machine(cls, probe: Decodable, digest: str) -> ProbePixels:
        """Pixels that all workers of a machine share, by the digest of the images."""
        return cls(probe, _MAPPED_KINDS, LocalCache.of_user("pixels"), digest)

    def __len__(self) -> int:
        return len(self._probe)

    def batch(self, preprocessing: Preprocessing, rows: slice | NDArray[np.int64]) -> Tensor:
        """Some of the images, normalised: float32 [B, C, H, W]."""
        pixels_BCHW = torch.tensor(self._kept(_geometry(preprocessing))[rows])
        return normalised(pixels_BCHW, preprocessing)

    def part(self, places_P: NDArray[np.int64]) -> ProbePixels:
        """The images at some places, in that order; none is decoded again."""
        return _PixelPart(self, places_P)

    def prepare(self, preprocessing: Preprocessing) -> None:
        """Have the pixels in the cache before they are asked for; another thread may do it."""
        if self._cache is not None:
            with self._file(self._cache, _geometry(preprocessing)):
                pass

    def _prepare(self, geometry: Preprocessing) -> NDArray[np.uint8]:
        if self._cache is None:
            return decode(self._probe, geometry).numpy()
        with self._file(self._cache, geometry) as path:
            shape = (len(self._probe), *geometry.input_size)
            return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)

    def _file(self, cache: LocalCache, geometry: Preprocessing) -> AbstractContextManager[Path]:
        key = f"{self._digest} {geometry} Pillow {PIL.__version__}"
        return cache.file(key, partial(self._write, geometry))

    def _write(self, geometry: Preprocessing, path: Path) -> None:
        """One image after another, so that no process ever holds all of them."""
        with path.open("wb") as file:
            for pixels_CHW in _decoded(self._probe, geometry):
                file.write(pixels_CHW.data)


class _PixelPart(ProbePixels):
    def __init__(self, whole: ProbePixels, places_P: NDArray[np.int64]) -> None:
        self._whole, self._places_P = whole, places_P

    def __len__(self) -> int:
        return len(self._places_P)

    def batch(self, preprocessing: Preprocessing, rows: slice | NDArray[np.int64]) -> Tensor:
        return self._whole.batch(preprocessing, self._places_P[rows])

    def part(self, places_P: NDArray[np.int64]) -> ProbePixels:
        return _PixelPart(self._whole, self._places_P[places_P])

    def prepare(self, preprocessing: Preprocessing) -> None:
        self._whole.prepare(preprocessing)


def decode(images: Decodable, preprocessing: Preprocessing) -> Tensor:
    """All images, resized and cropped: uint8 [N, C, H, W]."""
    pixels_NCHW = np.empty((len(images), *preprocessing.input_size), dtype=np.uint8)
    for place, pixels_CHW in enumerate(_decoded(images, preprocessing)):
        pixels_NCHW[place] = pixels_CHW
    return torch.from_numpy(pixels_NCHW)


def _decoded(images: Decodable, preprocessing: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """One image after another: uint8 [C, H, W], contiguous."""
    channels, height, width = preprocessing.input_size
    for place in range(len(images)):
        image = resize_and_crop(images.decoded(place), preprocessing)
        pixels_HWC = np.asarray(image).reshape(height, width, channels)
        yield np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))


def normalised(pixels_BCHW: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 pixels as a network wants them: float32 [B, C, H, W], on their device."""
    if preprocessing.bgr:
        pixels_BCHW = pixels_BCHW.flip(1)
    mean = torch.tensor(preprocessing.mean, device=pixels_BCHW.device).view(-1, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels_BCHW.device).view(-1, 1, 1)
    return (pixels_BCHW.float() / 255 - mean) / std


def resize_and_crop(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Convert, resize and crop one image; pixel for pixel what timm's evaluation transform does.

    The image is resized to floor(side / crop_pct), or to the size that is told: with ``center`` its
    shorter side, keeping the aspect ratio; with ``squash`` both sides; with ``border`` its longer
    side. Then the middle is cut out, or borders of the mean colour are added.
    """
    channels, height, width = preprocessing.input_size
    image = image.convert("RGB" if channels == 3 else "L")
    if preprocessing.resize is None:
        scaled = [math.floor(side / preprocessing.crop_pct) for side in (width, height)]
    else:
        scaled = [*reversed(preprocessing.resize)]
    size = _SIZES[preprocessing.crop_mode](image.size, scaled)
    resample = Image.Resampling[preprocessing.interpolation.upper()]
    if image.size != tuple(size):
        image = image.resize((size[0], size[1]), resample)
    margin = _floor_margin if preprocessing.floor_margin else _margin
    left, top = margin(image.width - width), margin(image.height - height)
    if preprocessing.crop_mode != "border":
        return image.crop((left, top, left + width, top + height))
    colour = tuple(round(255 * min(max(mean, 0), 1)) for mean in preprocessing.mean[:channels])
    framed = Image.new(image.mode, (width, height), colour if channels == 3 else colour[0])
    framed.paste(image, (-left, -top))
    return framed


def _covering(size: tuple[int, int], wanted: Sequence[int]) -> list[int]:
    """The smallest size of the same shape that covers the wanted one, rounded as timm does."""
    if wanted[0] == wanted[1]:
        ratio = max(Fraction(want, have) for want, have in zip(wanted, size, strict=True))
        return [int(side * ratio) for side in size]
    shrink = min(have / want for want, have in zip(wanted, size, strict=True))
    return [round(side / shrink) for side in size]


def _fitting(size: tuple[int, int], wanted: Sequence[int]) -> list[int]:
    """The largest size of the same shape that fits into the wanted one, rounded as timm does."""
    shrink = max(have / want for want, have in zip(wanted, size, strict=True))
    return [round(side / shrink) for side in size]


_SIZES: dict[str, Callable[[tuple[int, int], Sequence[int]], Sequence[int]]] = {
    "center": _covering,
    "border": _fitting,
    "squash": lambda _, wanted: wanted,
}


def _margin(spare: int) -> int:
    """Pixels to cut before the middle; negative where the image is smaller: filled with black."""
    return round(spare / 2) if spare >= 0 else -(-spare // 2)


def _floor_margin(spare: int) -> int:
    return spare // 2


def _geometry(preprocessing: Preprocessing) -> Preprocessing:
    """The part of the preprocessing that is done in pixels."""
    anything = Preprocessing()
    shared = replace(preprocessing, std=anything.std, bgr=anything.bgr)
    if preprocessing.crop_mode == "border":  # which is of the mean colour
        return shared
    return replace(shared, mean=anything.mean)
