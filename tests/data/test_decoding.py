"""Images of every kind look as a person would see them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import Image

from rayxkd.data.decoding import decode_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


def gradient(mode: str = "RGB") -> Image.Image:
    values = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_eight_bit_modes_are_converted(mode: str) -> None:
    image = gradient("RGB").convert(mode) if mode != "LAB" else gradient()
    form = {"CMYK": "TIFF", "YCbCr": "TIFF", "HSV": "PNG"}.get(mode, "PNG")
    if mode == "HSV":
        image = image.convert("RGB")
    found = decode_image(encoded(image, form))
    assert found.mode == ("L" if mode in ("L", "1") else "RGB")
    assert np.array_equal(np.asarray(found), np.asarray(image.convert(found.mode)))


def test_what_is_transparent_is_white() -> None:
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    found = decode_image(encoded(image))
    assert [found.getpixel((place, 0)) for place in (0, 1)] == [RED, WHITE]
    half = decode_image(encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 51))))
    assert half.getpixel((0, 0)) == (255, 204, 204)


def test_grey_with_alpha_stays_grey() -> None:
    found = decode_image(encoded(Image.new("LA", (1, 1), (0, 0))))
    assert (found.mode, found.getpixel((0, 0))) == ("L", 255)


def test_a_palette_may_be_transparent() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 0])
    image.putpixel((1, 0), 1)
    found = decode_image(encoded(image, transparency=1))
    assert [found.getpixel((place, 0)) for place in (0, 1)] == [RED, WHITE]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_range(form: str) -> None:
    image = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    found = decode_image(encoded(image, form))
    assert np.asarray(found).tolist() == [[0, 100, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 510, -4]], np.float32), [0, 255, 0]),
        (np.array([[0, float("nan"), 1]], np.float32), [0, 0, 255]),
        (np.array([[0, 200, 255]], np.int32), [0, 200, 255]),
        (np.array([[0, 65535, 257]], np.int32), [0, 255, 1]),
    ],
)
def test_deep_images_keep_their_contrast(values: Any, expected: list[int]) -> None:
    found = decode_image(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(found).tolist() == [expected]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_camera_says(orientation: int) -> None:
    upright = gradient().resize((40, 60))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode_image(encoded(stored, exif=exif))
    assert found.size == (40, 60)
    assert np.array_equal(np.asarray(found), np.asarray(upright))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_counts(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, WHITE)]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert decode_image(content).getpixel((0, 0)) == RED


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("L", (100, 100)))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 4_000)
    with pytest.raises(Image.DecompressionBombError):
        decode_image(content)


@pytest.mark.parametrize("content", [b"", b"no image", encoded(gradient())[:45]])
def test_damage_is_raised(content: bytes) -> None:
    with pytest.raises((OSError, SyntaxError)):
        decode_image(content)
