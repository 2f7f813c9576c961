"""Probe sets: which images are drawn, what is refused, and what the digest stands for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.data import ImageSet, ProbeSet, open_image_set, sample_probe_set
from rayxkd.data.probe import stratified_sample
from rayxkd.errors import UserError
from tests.data.builders import encoded_image, image_table, write_folders, write_images


def probe_of(folder: Path, counts: dict[str, int], size: int = 512, seed: int = 0) -> ProbeSet:
    return sample_probe_set(open_image_set(str(write_folders(folder, counts))), size, seed)


def spoil(folder: Path, files: int, content: bytes = b"no image at all") -> ImageSet:
    """Overwrite the first images of a folder of class folders."""
    for file in sorted(folder.rglob("*.png"))[:files]:
        file.write_bytes(content)
    return open_image_set(str(folder))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 300), min_size=1, max_size=12).filter(any),
    extra=st.integers(0, 400),
    seed=st.integers(0, 3),
)
def test_every_class_gives_its_share(counts, extra, seed):
    counts_M = np.array(counts)
    size = 2 * len(counts) + extra
    labels_N = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    places = stratified_sample(labels_N, size, seed)
    quota_M = np.bincount(labels_N[places], minlength=len(counts))

    assert len(set(places.tolist())) == len(places) == min(size, len(labels_N))
    assert places.tolist() == sorted(places)
    least_M = np.minimum(counts_M, 2)
    assert (quota_M >= least_M).all()
    share_M = counts_M * min(1, size / len(labels_N))
    assert (quota_M <= np.maximum(np.ceil(share_M - 1e-9), least_M)).all()
    if (share_M >= least_M).all():  # no class had to be given more than its share
        assert (np.abs(quota_M - share_M) < 1 + 1e-9).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(2, 60), min_size=2, max_size=6), seed=st.integers(0, 5))
def test_larger_classes_never_give_less(counts, seed):
    labels_N = np.repeat(np.arange(len(counts)), counts)
    quota_M = np.bincount(labels_N[stratified_sample(labels_N, 2 * len(counts) + 7, seed)])
    by_count = [quota for _, quota in sorted(zip(counts, quota_M.tolist(), strict=True))]
    assert all(more >= less for less, more in pairwise(by_count))


def test_shares_are_largest_remainders():
    labels_N = np.repeat([0, 1, 2], [50, 30, 20])
    quota_M = np.bincount(labels_N[stratified_sample(labels_N, 11, seed=0)])
    assert quota_M.tolist() == [6, 3, 2]  # of 5.5, 3.3 and 2.2


def test_a_rare_class_gives_two_at_the_cost_of_the_most_frequent():
    labels_N = np.repeat([0, 1, 2], [2, 2, 996])
    quota_M = np.bincount(labels_N[stratified_sample(labels_N, 10, seed=0)])
    assert quota_M.tolist() == [2, 2, 6]


def test_same_seed_same_images_other_seed_other_images(tmp_path):
    images = open_image_set(str(write_folders(tmp_path, {"daisy": 20, "rose": 20})))
    first, again = (sample_probe_set(images, 10, seed=3) for _ in range(2))
    other = sample_probe_set(images, 10, seed=4)
    assert first.indices_N.tolist() == again.indices_N.tolist()
    assert first.digest == again.digest
    assert first.indices_N.tolist() != other.indices_N.tolist()
    assert first.digest != other.digest


def test_classes_are_drawn_from_all_of_their_images():
    labels_N = np.repeat([0, 1], 50)
    drawn = {
        place for seed in range(40) for place in stratified_sample(labels_N, 10, seed).tolist()
    }
    assert len(drawn) > 90


@pytest.mark.parametrize("size", [7, 8, 512])
def test_all_are_taken_where_there_are_no_more(size, tmp_path):
    probe = probe_of(tmp_path, {"daisy": 4, "rose": 3}, size)
    assert len(probe) == 7
    assert probe.indices_N.tolist() == list(range(7))


def test_images_come_back_as_they_were(tmp_path):
    probe = probe_of(tmp_path, {"daisy": 5, "rose": 4}, size=6)
    assert probe.skipped == 0
    assert probe.num_classes == 2
    for place, index in enumerate(probe.indices_N.tolist()):
        assert probe.encoded(place) == encoded_image(index)
        assert probe.decoded(place).size == (8, 8)
        assert probe.labels_N[place] == (index >= 5)


def test_arrays_are_plain_numpy(tmp_path):
    probe = probe_of(tmp_path, {"daisy": 3, "rose": 3})
    kinds = [
        array.dtype.name for array in (probe.labels_N, probe.indices_N, probe.ends_N, probe.buffer)
    ]
    assert kinds == ["int64", "int64", "int64", "uint8"]
    assert probe.ends_N[-1] == len(probe.buffer)


def test_a_size_too_small_for_the_classes_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--probe-size 5 is too small for 3 classes: .* least 6"):
        probe_of(tmp_path, {"daisy": 4, "rose": 4, "tulip": 4}, size=5)


def test_one_class_only_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"one class only \('daisy'\)"):
        probe_of(tmp_path, {"daisy": 4})


def test_many_names_but_images_of_one_class_only_is_refused(tmp_path):
    write_images(tmp_path / "a.parquet", [1, 1, 1])
    with pytest.raises(UserError, match=r"one class only \('rose'\)"):
        sample_probe_set(open_image_set(str(tmp_path / "a.parquet")))


def test_a_class_with_one_image_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"class 'rose' has 1 readable image"):
        probe_of(tmp_path, {"daisy": 4, "rose": 1})


def test_a_class_name_without_images_is_refused(tmp_path):
    write_images(tmp_path / "a.parquet", [0, 0, 2, 2])
    with pytest.raises(UserError, match=r"class 'rose' has 0 readable image"):
        sample_probe_set(open_image_set(str(tmp_path / "a.parquet")))


def test_no_images_is_refused(tmp_path):
    write_images(tmp_path / "a.parquet", [])
    with pytest.raises(UserError, match="holds no images"):
        sample_probe_set(open_image_set(str(tmp_path / "a.parquet")))


def test_images_without_labels_are_refused(tmp_path):
    images = open_image_set(str(write_folders(tmp_path, {"daisy": 4, "rose": 4})), labelled=False)
    with pytest.raises(UserError, match="was opened without labels"):
        sample_probe_set(images)


@pytest.mark.parametrize(
    "content", [b"", b"no image at all", encoded_image(0)[:-30], encoded_image(0)[:20]]
)
def test_up_to_one_percent_of_unreadable_images_is_left_out_and_counted(content, tmp_path):
    write_folders(tmp_path, {"daisy": 50, "rose": 50})
    probe = sample_probe_set(spoil(tmp_path, 1, content))
    assert probe.skipped == 1
    assert probe.indices_N.tolist() == list(range(1, 100))
    assert probe.labels_N.tolist() == [0] * 49 + [1] * 50
    assert probe.encoded(0) == encoded_image(1)


def test_more_unreadable_images_are_an_error(tmp_path):
    write_folders(tmp_path, {"daisy": 50, "rose": 50})
    message = r"2 of 100 images cannot be decoded \(first: number 0 of the sample\)"
    with pytest.raises(UserError, match=message):
        sample_probe_set(spoil(tmp_path, 2))


def test_only_images_that_are_drawn_count_as_unreadable(tmp_path):
    write_folders(tmp_path, {"daisy": 50, "rose": 50})
    images = spoil(tmp_path, 40)
    seed = next(
        seed for seed in range(100) if stratified_sample(images.labels_N, 4, seed).min() >= 40
    )
    assert sample_probe_set(images, 4, seed).skipped == 0


def test_unreadable_images_may_not_leave_a_class_with_one(tmp_path):
    write_folders(tmp_path, {"daisy": 2, "rose": 198})
    with pytest.raises(UserError, match=r"class 'daisy' has 1 readable image"):
        sample_probe_set(spoil(tmp_path, 1))


def test_null_images_of_parquet_count_as_unreadable(tmp_path):
    contents = [encoded_image(seed) for seed in range(99)]
    table = image_table([*contents, None], [0, 1] * 50, names=("daisy", "rose"))
    pq.write_table(table, tmp_path / "a.parquet")
    assert sample_probe_set(open_image_set(str(tmp_path / "a.parquet"))).skipped == 1


COUNTS = {"daisy": 3, "rose": 3}


def test_address_and_layout_do_not_change_the_digest(tmp_path):
    here = probe_of(tmp_path / "here", COUNTS)
    there = probe_of(tmp_path / "there", COUNTS)
    write_images(tmp_path / "a.parquet", [0, 0, 0, 1, 1, 1], names=("daisy", "rose"))
    parquet = sample_probe_set(open_image_set(str(tmp_path / "a.parquet")))
    assert here.address != there.address
    assert here.digest == there.digest == parquet.digest


def test_one_byte_of_one_image_changes_the_digest(tmp_path):
    before = probe_of(tmp_path, COUNTS)
    file = tmp_path / "rose/0001.png"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # in the end mark, which decoders do not look at
    file.write_bytes(content)
    after = sample_probe_set(open_image_set(str(tmp_path)))
    assert after.skipped == 0
    assert after.digest != before.digest


def test_a_label_changes_the_digest(tmp_path):
    digests = set()
    for labels in ([0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 1, 1]):
        write_images(tmp_path / "a.parquet", labels, names=("daisy", "rose"))
        digests.add(sample_probe_set(open_image_set(str(tmp_path / "a.parquet"))).digest)
    assert len(digests) == 2


def test_a_class_name_changes_the_digest(tmp_path):
    digests = {
        probe_of(tmp_path / name, {"daisy": 3, name: 3}).digest for name in ("rose", "tulip")
    }
    assert len(digests) == 2


def test_which_image_has_which_label_changes_the_digest(tmp_path):
    digests = set()
    for order in ([0, 1, 2, 3], [2, 1, 0, 3]):
        contents = [encoded_image(seed) for seed in order]
        pq.write_table(image_table(contents, [0, 0, 1, 1], ["a", "b"]), tmp_path / "a.parquet")
        digests.add(sample_probe_set(open_image_set(str(tmp_path / "a.parquet"))).digest)
    assert len(digests) == 2


def test_flowers_are_sampled_in_their_shares(shared):
    images = open_image_set(str(shared / "data/flowers/train.parquet"))
    assert images.class_names == ("daisy", "dandelion", "rose", "sunflower", "tulip")
    counts_M = np.bincount(images.labels_N)
    probe = sample_probe_set(images)
    assert len(probe) == 512
    assert probe.skipped == 0
    share_M = counts_M * 512 / counts_M.sum()
    assert (np.abs(np.bincount(probe.labels_N) - share_M) < 1).all()
    assert probe.labels_N.tolist() == images.labels_N[probe.indices_N].tolist()
    assert [probe.encoded(7)] == images.read([int(probe.indices_N[7])])
    assert min(probe.decoded(7).size) > 8
