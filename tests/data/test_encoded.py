"""Encoded images in one buffer: what is kept, what is left out, what is refused."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from rayxkd.data import (
    EncodedImages,
    ImageSet,
    ProbeSet,
    open_image_set,
    read_encoded,
    sample_probe_set,
)
from rayxkd.errors import UserError
from tests.data.builders import encoded_image, write_folders


def opened(folder: Path, count: int, *, spoilt: tuple[int, ...] = ()) -> ImageSet:
    """One class folder with that many images, of which some are no images at all."""
    write_folders(folder, {"daisy": count})
    for number in spoilt:
        (folder / f"daisy/{number:04d}.png").write_bytes(b"no image at all")
    return open_image_set(str(folder))


@pytest.mark.parametrize("as_array", [False, True])
def test_images_come_in_the_order_in_which_they_are_asked_for(as_array, tmp_path):
    wanted = [4, 0, 3, 0]
    indices = np.array(wanted, dtype=np.int64) if as_array else wanted
    images, kept_N = read_encoded(opened(tmp_path, 5), indices)
    assert kept_N.tolist() == wanted
    assert len(images) == 4
    assert [images.encoded(place) for place in range(4)] == [encoded_image(i) for i in wanted]
    assert images.decoded(1).size == (8, 8)


def test_arrays_are_plain_numpy_also_where_there_are_none(tmp_path):
    for wanted in ([0, 1], []):
        images, kept_N = read_encoded(opened(tmp_path / str(len(wanted)), 2), wanted)
        assert len(images) == len(kept_N) == len(wanted)
        assert (images.buffer.dtype, images.ends_N.dtype) == (np.uint8, np.int64)
        assert kept_N.dtype == np.int64


def test_up_to_one_percent_of_unreadable_images_is_left_out(tmp_path):
    images, kept_N = read_encoded(opened(tmp_path, 100, spoilt=(7,)), range(100))
    assert kept_N.tolist() == [place for place in range(100) if place != 7]
    assert images.encoded(7) == encoded_image(8)
    assert images.digests[-1] == hashlib.sha256(encoded_image(99)).hexdigest()


def test_more_unreadable_images_are_an_error_that_names_the_first(tmp_path):
    message = r"2 of 100 images cannot be decoded \(first: number 40 of the sample\)"
    with pytest.raises(UserError, match=message) as caught:
        read_encoded(opened(tmp_path, 100, spoilt=(40, 60)), range(100))
    assert str(caught.value).startswith(str(tmp_path))


def test_all_unreadable_images_are_an_error(tmp_path):
    with pytest.raises(UserError, match=r"1 of 1 images cannot be decoded \(first: number 0 "):
        read_encoded(opened(tmp_path, 2, spoilt=(1,)), [1])


def test_digests_are_those_of_the_files(tmp_path):
    images, _ = read_encoded(opened(tmp_path, 3), [2, 0, 2])
    expected = [hashlib.sha256(encoded_image(seed)).hexdigest() for seed in (2, 0, 2)]
    assert images.digests == expected


def test_probe_sets_have_digests_of_their_images_too(tmp_path):
    probe = sample_probe_set(open_image_set(str(write_folders(tmp_path, {"a": 2, "b": 2}))))
    expected = [hashlib.sha256(encoded_image(seed)).hexdigest() for seed in range(4)]
    assert probe.digests == expected


def test_encoded_images_are_frozen_and_can_be_sent(tmp_path):
    images, _ = read_encoded(opened(tmp_path, 3), range(3))
    again = pickle.loads(pickle.dumps(images))
    assert [again.encoded(place) for place in range(3)] == [encoded_image(s) for s in range(3)]
    with pytest.raises(FrozenInstanceError):
        images.buffer = np.zeros(0, np.uint8)  # type: ignore[misc]


def test_the_digest_of_a_probe_set_is_what_leaderboards_have_on_record(tmp_path):
    """Written once more by hand: if it moved, every scan on disk would begin anew."""
    contents = [b"first", b"second"]
    images = EncodedImages(np.frombuffer(b"".join(contents), np.uint8), np.array([5, 11]))
    probe = ProbeSet(
        "anywhere", ("a", "b"), np.array([1, 0]), np.array([0, 1]), images.buffer, images.ends_N
    )
    digest = hashlib.sha256(b"('a', 'b')")
    for label, content in zip(b"10", contents, strict=True):
        digest.update(bytes([label]) + b":" + hashlib.sha256(content).digest())
    assert probe.digest == digest.hexdigest()
