"""A feature of images that needs no network: gradients and colours of a thumbnail.

Legend: N images, S = 32 pixels a side, O orientations, C = 8 cells a side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rayxkd.data.views import Decodable

_SIDE, _CELLS, _ORIENTATIONS = 32, 8, 8
# Raised when the feature changes: its name is part of the digest of a space.
VERSION = 1
WIDTH = (_CELLS - 1) ** 2 * 4 * _ORIENTATIONS + _CELLS * _CELLS * 3
# Brings colours to about the weight of gradients.
_COLOUR_WEIGHT = 3.0
_CHUNK = 1024


def thumbnail_features_ND(images: Decodable) -> NDArray[np.float32]:
    """Histograms of oriented gradients and mean colours, float32 [N, ``WIDTH``].

    Each image is brought to 32 x 32 pixels. Gradients are histogrammed over 8 unsigned orientations
    in 8 x 8 cells, and normalised over blocks of 2 x 2 cells (after Dalal and Triggs, CVPR 2005);
    beside them stand the mean colours of the cells.
    """
    chunks = [
        _features(_pixels(images, range(start, min(start + _CHUNK, len(images)))))
        for start in range(0, len(images), _CHUNK)
    ]
    return np.concatenate([np.empty((0, WIDTH), np.float32), *chunks])


def _pixels(images: Decodable, places: range) -> NDArray[np.float32]:
    size = (_SIDE, _SIDE)
    decoded = [
        images.decoded(place).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        for place in places
    ]
    pixels: NDArray[np.float32] = np.stack([np.asarray(one, np.float32) for one in decoded])
    return pixels / np.float32(255)


def _features(pixels_NSSC: NDArray[np.float32]) -> NDArray[np.float32]:
    gradients = _blocks(_histograms(pixels_NSSC.mean(axis=-1)))
    colours = _per_cell(pixels_NSSC).mean(axis=(2, 4)) * np.float32(_COLOUR_WEIGHT)
    count = len(pixels_NSSC)
    both = [gradients.reshape(count, -1), colours.reshape(count, -1)]
    return np.concatenate(both, axis=1, dtype=np.float32)


def _histograms(grey_NSS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gradient magnitude by cell and orientation, shared between the two nearest: [N, C, C, O]."""
    across, down = np.zeros_like(grey_NSS), np.zeros_like(grey_NSS)
    across[:, :, 1:-1] = grey_NSS[:, :, 2:] - grey_NSS[:, :, :-2]
    down[:, 1:-1] = grey_NSS[:, 2:] - grey_NSS[:, :-2]
    magnitude = np.hypot(across, down)
    turn = (np.arctan2(down, across) % np.pi) / np.pi * _ORIENTATIONS
    lower = np.floor(turn).astype(int)
    share = turn - lower
    found = np.empty((len(grey_NSS), _CELLS, _CELLS, _ORIENTATIONS), np.float32)
    for orientation in range(_ORIENTATIONS):
        of_lower = (lower % _ORIENTATIONS) == orientation
        of_upper = ((lower + 1) % _ORIENTATIONS) == orientation
        weight = magnitude * (of_lower * (1 - share) + of_upper * share)
        found[..., orientation] = _per_cell(weight).sum(axis=(2, 4))
    return found


def _blocks(cells_NCCO: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cells by blocks of four, each block normalised."""
    parts = [
        cells_NCCO[:, row : _CELLS - 1 + row, column : _CELLS - 1 + column]
        for row in (0, 1)
        for column in (0, 1)
    ]
    blocks = np.concatenate(parts, axis=-1)
    normalised: NDArray[np.float32] = blocks / (
        np.linalg.norm(blocks, axis=-1, keepdims=True) + 0.1
    )
    return normalised


def _per_cell(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels [N, S, S, ...] as [N, C, S / C, C, S / C, ...]."""
    step = _SIDE // _CELLS
    return values.reshape(len(values), _CELLS, step, _CELLS, step, *values.shape[3:])
