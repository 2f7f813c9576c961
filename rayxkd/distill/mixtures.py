"""Mixtures: blends of two images, which teachers label where unlabelled images are few.

A teacher can say something of any image. Blends of labelled images lie between the classes, where
its knowledge of how classes relate shows (mixup, Zhang et al. 2018,
https://arxiv.org/abs/1710.09412; as images for a teacher to judge: Beyer et al. 2022,
https://arxiv.org/abs/2106.05237).
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from rayxkd.data import EncodedImages
from rayxkd.data.views import random_view

_QUALITY = 95


def mixtures(images: EncodedImages, count: int, seed: int = 0) -> EncodedImages:
    """Blends of crops of two images each, with a uniform share, as JPEG.

    Args:
        images: two or more.
        count: how many blends.
        seed: of pairs, crops and shares: the same seed gives the same bytes.
    """
    rng = np.random.default_rng(seed)
    contents = []
    for _ in range(count):
        first, second = (
            random_view(rng).of(images.decoded(int(place)).convert("RGB"))
            for place in rng.choice(len(images), size=2, replace=False)
        )
        size = (max(first.width, second.width), max(first.height, second.height))
        blend = Image.blend(first.resize(size), second.resize(size), float(rng.uniform()))
        buffer = io.BytesIO()
        blend.save(buffer, format="JPEG", quality=_QUALITY)
        contents.append(buffer.getvalue())
    return EncodedImages.of(contents)
