"""Addresses of image sets: every mistake is one line that says how to mend it."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from rayxkd.data import open_image_set
from rayxkd.data.digits import LABELS_PER_CLASS, DigitImageSet, digits_for_teachers
from rayxkd.errors import UserError
from tests.data.builders import encoded_image


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{folder}/nothing", "there is nothing at .*/nothing: check the address"),
        ("memory://nothing/here", "there is nothing at memory://nothing/here"),
        ("sso3://bucket/images", "unknown address scheme 'sso3': did you mean 's3'"),
        ("deom://", "unknown address scheme 'deom': did you mean 'demo'"),
        ("demo://tset", "unknown split of demo:// 'tset': did you mean 'test'"),
        ("{folder}/one.png", r"one\.png is a single image: give a folder of class folders"),
        ("{folder}/empty", "holds no images: give a folder with one folder of images a class"),
        ("{folder}/notes.txt", r"notes\.txt cannot be read as Parquet"),
        ("gs://bucket/images", r"gs:// needs a library that is missing: install rayxkd\[gcs\]"),
    ],
)
def test_a_bad_address_is_told_in_one_line(address, message, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    (tmp_path / "one.png").write_bytes(encoded_image(0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not Parquet")
    with pytest.raises(UserError, match=message) as caught:
        open_image_set(address.format(folder=tmp_path))
    assert "\n" not in str(caught.value)


def test_demo_is_five_digits_with_few_labels():
    images = open_image_set("demo://")
    assert images.class_names == ("five", "six", "seven", "eight", "nine")
    assert np.bincount(images.labels_N).tolist() == [LABELS_PER_CLASS] * 5
    assert images.read([0]) == open_image_set("demo://train").read([0])


def test_demo_images_show_the_digit_that_the_label_says():
    """The scans themselves, read back from PNG, against scikit-learn's own pixels and targets."""
    from sklearn.datasets import load_digits

    source = load_digits()
    known = {
        np.round(image * (255 / 16)).astype(np.uint8).tobytes(): target
        for image, target in zip(source.images, source.target, strict=True)
    }
    images = DigitImageSet("demo://test")
    for content, label in zip(images.read(range(50)), images.labels_N[:50], strict=True):
        assert known[pixels_of(content)] == label + 5


def test_splits_of_the_demo_and_its_teachers_share_no_image():
    splits = {"teachers": [pixels.tobytes() for pixels in digits_for_teachers().pixels]}
    for name in ("train", "test"):
        images = open_image_set(f"demo://{name}")
        splits[name] = [pixels_of(content) for content in images.read(range(len(images)))]
    sizes = {name: len(images) for name, images in splits.items()}
    assert sizes["teachers"] == 1_200
    assert sizes["train"] == 100
    everything = {image for images in splits.values() for image in images}
    assert len(everything) == sum(sizes.values())


def pixels_of(content: bytes) -> bytes:
    return np.asarray(Image.open(io.BytesIO(content))).tobytes()
