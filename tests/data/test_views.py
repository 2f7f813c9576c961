"""Views depend on their number and the image alone, and show most of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from rayxkd.data.views import View, Viewed, fixed_view, random_view

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
CROPS = st.integers(2, 10_000)


def picture(width: int = 12, height: int = 8, mode: str = "RGB") -> Image.Image:
    """Every pixel has a value of its own."""
    values = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    return Image.fromarray(values).convert(mode)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


class Pictures:
    """Four images of different width."""

    def __len__(self) -> int:
        return 4

    def decoded(self, place: int) -> Image.Image:
        return picture(width=12 + place)


@given(DIGESTS, st.integers(0, 10_000))
def test_a_view_is_a_function_of_number_and_digest(digest: str, number: int) -> None:
    before = fixed_view(number, digest)
    np.random.seed(number)  # whatever others do with the global state
    assert fixed_view(number, digest) == before


@given(DIGESTS)
def test_the_first_two_views_show_all_of_any_image(digest: str) -> None:
    image = picture()
    assert (pixels(fixed_view(0, digest).of(image)) == pixels(image)).all()
    assert (pixels(fixed_view(1, digest).of(image)) == pixels(image)[:, ::-1]).all()


@given(DIGESTS, CROPS)
def test_crops_lie_inside_and_keep_half_of_the_area(digest: str, number: int) -> None:
    left, top, right, bottom = fixed_view(number, digest).box
    assert 0 <= left < right <= 1 + 1e-12
    assert 0 <= top < bottom <= 1 + 1e-12
    assert (right - left) * (bottom - top) >= 0.5 - 1e-12


@given(DIGESTS, CROPS, st.integers(1, 60), st.integers(1, 60))
def test_no_crop_is_empty_or_larger_than_its_image(
    digest: str, number: int, width: int, height: int
) -> None:
    seen = fixed_view(number, digest).of(picture(width, height))
    assert 1 <= seen.width <= width
    assert 1 <= seen.height <= height
    # Rounding to whole pixels takes at most one from either side.
    assert (seen.width + 1) * (seen.height + 1) >= 0.5 * width * height


def test_crops_keep_the_shape_of_their_image() -> None:
    for number in range(2, 50):
        seen = fixed_view(number, "a" * 64).of(picture(600, 400))
        assert seen.width / seen.height == pytest.approx(1.5, abs=0.01)


def test_views_differ_by_number_and_by_image() -> None:
    numbers = [fixed_view(number, "a" * 64) for number in range(40)]
    assert len(set(numbers)) == 40
    images = {fixed_view(2, f"{image:064x}") for image in range(40)}
    assert len(images) == 40
    mirrored = [view.mirrored for view in numbers[2:]]
    assert 5 < sum(mirrored) < 33


def test_crops_are_cut_where_the_box_says() -> None:
    view = View((0.25, 0.0, 0.75, 0.5))
    assert (pixels(view.of(picture())) == pixels(picture())[:4, 3:9]).all()
    turned = View(view.box, mirrored=True)
    assert (pixels(turned.of(picture())) == pixels(picture())[:4, 3:9][:, ::-1]).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_views_keep_the_mode(mode: str) -> None:
    assert fixed_view(1, "a" * 64).of(picture(mode=mode)).mode == mode
    assert fixed_view(5, "a" * 64).of(picture(mode=mode)).mode == mode


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="numbered from 0, not -1"):
        fixed_view(-1, "a" * 64)


def test_random_views_follow_their_source_of_chance() -> None:
    first, second = (
        [random_view(np.random.default_rng(seed)) for seed in range(5)] for _ in range(2)
    )
    assert first == second
    assert len(set(first)) == 5


def test_viewed_pairs_places_with_views() -> None:
    half = View((0.0, 0.0, 0.5, 1.0))
    seen = Viewed(Pictures(), (3, 0, 3), (View(), View(mirrored=True), half))
    assert len(seen) == 3
    assert [seen.decoded(place).width for place in range(3)] == [15, 12, 8]
    mirror = ImageOps.mirror(picture(12))
    assert (pixels(seen.decoded(1)) == pixels(mirror)).all()
