"""Against timm's own evaluation transform, which shares no code with ours."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image

from rayxkd.cache import LocalCache
from rayxkd.fleet.memory import _data_bytes
from rayxkd.teachers import Preprocessing, ProbePixels
from rayxkd.teachers.card import CROP_MODES, INTERPOLATIONS
from rayxkd.teachers.preprocess import resize_and_crop
from tests.teachers.folders import probe_of, random_images

SHAPES = {"landscape": (97, 63), "portrait": (63, 97), "small": (31, 40), "large": (300, 201)}
SQUARE, NOT_SQUARE = [(32, 32), (65, 65)], [(48, 32), (32, 48), (33, 50)]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def timm_pixels(image: Image.Image, wanted: Preprocessing) -> np.ndarray:
    transform = timm.data.create_transform(
        input_size=wanted.input_size,
        interpolation=wanted.interpolation,
        crop_pct=wanted.crop_pct,
        crop_mode=wanted.crop_mode,
        normalize=False,
    )
    return transform(image).squeeze(0).numpy()


def our_pixels(image: Image.Image, wanted: Preprocessing) -> np.ndarray:
    pixels = np.array(resize_and_crop(image, wanted))
    return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels


@pytest.mark.parametrize("mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_geometry_is_timms_pixel_for_pixel(shape, interpolation, mode):
    image = noise(*SHAPES[shape])
    for size, crop_pct in itertools.product(SQUARE + NOT_SQUARE, (0.875, 0.95, 1.0, 1.3)):
        wanted = Preprocessing(
            (3, *size), interpolation=interpolation, crop_pct=crop_pct, crop_mode=mode
        )
        np.testing.assert_array_equal(
            our_pixels(image, wanted), timm_pixels(image, wanted), err_msg=str(wanted)
        )


@pytest.mark.parametrize(
    "shape", [(224, 224), (256, 256), (257, 224), (500, 375), (1, 1), (300, 2)]
)
def test_the_usual_size_is_timms_for_unusual_images(shape):
    image = noise(*shape)
    for crop_pct, mode in itertools.product((0.875, 1.0), CROP_MODES):
        wanted = Preprocessing(crop_pct=crop_pct, crop_mode=mode, interpolation="bicubic")
        np.testing.assert_array_equal(our_pixels(image, wanted), timm_pixels(image, wanted))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_every_kind_of_image_becomes_colour(mode):
    image = noise(50, 40, mode)
    wanted = Preprocessing((3, 32, 32))
    expected = timm_pixels(image.convert("RGB"), wanted)
    assert expected.shape == (3, 32, 32)
    np.testing.assert_array_equal(our_pixels(image, wanted), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_every_kind_of_image_becomes_grey(mode):
    image = noise(50, 40, mode)
    wanted = Preprocessing((1, 24, 32), mean=(0.5,), std=(0.5,))
    np.testing.assert_array_equal(
        our_pixels(image, wanted), timm_pixels(image.convert("L"), wanted)
    )


@pytest.mark.parametrize(
    "wanted",
    [
        Preprocessing(),
        Preprocessing((3, 40, 56), (0.1, 0.5, 0.9), (1.5, 0.02, 0.3), "bicubic", 0.95, "squash"),
        Preprocessing((1, 32, 32), (0.3,), (0.2,), "nearest", 1.0),
    ],
)
def test_batches_are_normalised_as_timm_does(wanted):
    images = random_images(5, "RGB" if wanted.input_size[0] == 3 else "L")
    transform = timm.data.create_transform(
        input_size=wanted.input_size,
        interpolation=wanted.interpolation,
        mean=wanted.mean,
        std=wanted.std,
        crop_pct=wanted.crop_pct,
        crop_mode=wanted.crop_mode,
    )
    expected = torch.stack([transform(image) for image in images])
    pixels = ProbePixels(probe_of(images))
    found = torch.cat([pixels.batch(wanted, slice(0, 2)), pixels.batch(wanted, slice(2, 9))])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_teachers_of_one_size_share_the_pixels():
    probe = probe_of(random_images(3))
    pixels = ProbePixels(probe)
    first = pixels.batch(Preprocessing((3, 16, 16)), slice(0, 3))
    # The images' files are gone: only what was kept can answer.
    object.__setattr__(probe, "buffer", np.zeros(0, dtype=np.uint8))
    brighter = Preprocessing((3, 16, 16), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    again = pixels.batch(brighter, slice(0, 3))
    undone = first * torch.tensor(Preprocessing().std).view(-1, 1, 1)
    torch.testing.assert_close(again, undone + torch.tensor(Preprocessing().mean).view(-1, 1, 1))
    with pytest.raises(OSError, match="cannot identify image"):
        pixels.batch(Preprocessing((3, 17, 17)), slice(0, 3))


def test_a_cache_gives_the_same_pixels_and_is_filled_once(tmp_path):
    probe, cache = probe_of(random_images(5)), LocalCache(tmp_path)
    wanted = Preprocessing((3, 16, 20))
    expected = ProbePixels(probe).batch(wanted, slice(1, 4))

    first = ProbePixels(probe, cache=cache, digest=probe.digest)
    first.prepare(wanted)
    # The images' files are gone: only what was kept can answer, in this process and in others.
    object.__setattr__(probe, "buffer", np.zeros(0, dtype=np.uint8))
    second = ProbePixels(probe, cache=cache, digest=probe.digest)

    for pixels in (first, second):
        torch.testing.assert_close(pixels.batch(wanted, slice(1, 4)), expected, rtol=0, atol=0)
    with pytest.raises(OSError, match="cannot identify image"):
        second.batch(Preprocessing((3, 16, 21)), slice(0, 3))
    other = ProbePixels(probe, cache=cache, digest="another probe set")
    with pytest.raises(OSError, match="cannot identify image"):
        other.batch(wanted, slice(0, 3))


def test_pixels_of_a_cache_outlive_their_file(tmp_path):
    probe, cache = probe_of(random_images(3)), LocalCache(tmp_path)
    pixels = ProbePixels(probe, cache=cache, digest=probe.digest)
    wanted = Preprocessing((3, 8, 8))
    before = pixels.batch(wanted, slice(0, 3))
    for file in tmp_path.iterdir():
        file.unlink()

    torch.testing.assert_close(pixels.batch(wanted, slice(0, 3)), before, rtol=0, atol=0)


def test_no_process_holds_all_pixels_of_a_cache(tmp_path):
    probe, cache = probe_of(random_images(40)), LocalCache(tmp_path)
    wanted = Preprocessing((3, 128, 128))
    pixels = ProbePixels(probe, cache=cache, digest=probe.digest)
    whole = len(probe) * 3 * 128 * 128
    before = _data_bytes()
    assert before is not None

    tracemalloc.start()
    pixels.prepare(wanted)
    seen = [pixels.batch(wanted, slice(place, place + 1)) for place in (0, 39)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < whole / 4
    # Mapped for reading only, they count towards no bound on memory.
    assert _data_bytes() - before < whole / 4
    unkept = ProbePixels(probe)
    for place, found in zip((0, 39), seen, strict=True):
        assert torch.equal(found, unkept.batch(wanted, slice(place, place + 1)))
