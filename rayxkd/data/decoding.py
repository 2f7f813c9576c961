"""Encoded images of any kind as eight bits a channel, the way a person would see them."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

# Deep modes hold more than eight bits: unsigned integers of sixteen, or signed ones, or floats.
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")
_DEEP = (*_SIXTEEN, "I", "F")
_PAPER = 255


def decode_image(content: bytes) -> Image.Image:
    """Decode one image: RGB, or L where it is grey.

    It is turned as its EXIF orientation says, laid on white where it is transparent, and scaled to
    eight bits: 16-bit images by their whole range, deeper ones and floats by their largest value.
    Of an animation it is the first frame.

    Args:
        content: the encoded image.

    Raises:
        Exception: whatever Pillow raises for a file that it cannot read, or that unpacks to more
            than twice ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large images and odd metadata are no fault of the caller
        file = Image.open(io.BytesIO(content))
        file.load()
        image = ImageOps.exif_transpose(file)
        if image.mode in _DEEP:
            return _in_eight_bits(image)
        if image.has_transparency_data:
            return _on_paper(image)
        return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _in_eight_bits(image: Image.Image) -> Image.Image:
    values_HW = np.nan_to_num(np.asarray(image).astype(np.float64))
    if image.mode in _SIXTEEN or (image.mode == "I" and values_HW.max() > _PAPER):
        largest = float(np.iinfo(np.uint16).max)
    elif image.mode == "F" and values_HW.max() <= 1:
        largest = 1.0
    else:
        largest = float(_PAPER)
    largest = max(largest, float(values_HW.max()))
    scaled_HW = np.clip(values_HW * (_PAPER / largest), 0, _PAPER)
    return Image.fromarray(np.round(scaled_HW).astype(np.uint8))


def _on_paper(image: Image.Image) -> Image.Image:
    grey = image.mode in ("LA", "La", "L", "1")
    image = image.convert("RGBA")
    paper = Image.new("RGBA", image.size, (_PAPER, _PAPER, _PAPER, _PAPER))
    return Image.alpha_composite(paper, image).convert("L" if grey else "RGB")
