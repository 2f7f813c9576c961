"""Selections in an address: which images they choose, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rayxkd.data import ImageSet, Selection, open_image_set, sample_probe_set
from rayxkd.data.selection import split_selection
from rayxkd.errors import UserError
from tests.data.builders import NAMES, write_folders, write_images

LABELS = [0, 1, 2, 1, 0, 2, 2, 1, 0, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]  # 7, 7 and 6


@pytest.fixture
def parquet(tmp_path: Path) -> str:
    write_images(tmp_path / "train.parquet", LABELS, row_group_size=6)
    return str(tmp_path / "train.parquet")


def contents_of(images: ImageSet) -> list[bytes | None]:
    return images.read(range(len(images)))


def expected_places(label: int, start: int, stop: int | None, seed: int) -> list[int]:
    """The definition, written once more the slow way."""
    order = np.random.default_rng(seed).permutation(len(LABELS)).tolist()
    return [place for place in order if LABELS[place] == label][start:stop]


@pytest.mark.parametrize(
    ("text", "start", "stop", "seed"),
    [
        ("per_class=2", 0, 2, 0),
        ("per_class=2:5", 2, 5, 0),
        ("per_class=2:", 2, None, 0),
        ("per_class=3&seed=7", 0, 3, 7),
        ("seed=7&per_class=1:3", 1, 3, 7),
        ("seed=7", 0, None, 7),
        ("per_class=1000", 0, 1000, 0),
    ],
)
def test_each_class_gives_a_range_of_the_seeded_shuffle(text, start, stop, seed, parquet):
    everything = contents_of(open_image_set(parquet))
    images = open_image_set(f"{parquet}#{text}")
    places = sorted(
        place for label in range(3) for place in expected_places(label, start, stop, seed)
    )
    assert contents_of(images) == [everything[place] for place in places]
    assert images.labels_N.tolist() == [LABELS[place] for place in places]
    assert images.labels_N.dtype == np.int64
    assert images.class_names == NAMES
    assert images.address == f"{parquet}#{text}"


def test_classes_are_labelled_in_the_order_in_which_they_are_named(parquet):
    everything = contents_of(open_image_set(parquet))
    images = open_image_set(f"{parquet}#classes=tulip,daisy")
    assert images.class_names == ("tulip", "daisy")
    places = [place for place, label in enumerate(LABELS) if label != 1]
    assert contents_of(images) == [everything[place] for place in places]
    assert images.labels_N.tolist() == [{2: 0, 0: 1}[LABELS[place]] for place in places]


def test_images_of_a_selection_are_read_by_their_place_in_it(parquet):
    images = open_image_set(f"{parquet}#classes=tulip&per_class=4")
    contents = contents_of(images)
    assert images.read([3, 0, 3]) == [contents[3], contents[0], contents[3]]


def test_ranges_that_do_not_overlap_share_no_image_and_miss_none(parquet):
    parts = [open_image_set(f"{parquet}#per_class={part}&seed=3") for part in ("2", "2:5", "5:")]
    contents = [content for part in parts for content in contents_of(part)]
    assert len(set(contents)) == len(contents) == len(LABELS)


def test_a_class_gives_the_same_images_whatever_other_classes_are_chosen(parquet):
    alone = open_image_set(f"{parquet}#classes=rose&per_class=3")
    among = open_image_set(f"{parquet}#classes=tulip,rose,daisy&per_class=3")
    roses = np.flatnonzero(among.labels_N == 1)
    assert among.read(roses.tolist()) == contents_of(alone)


def folders(root: Path) -> str:
    return str(write_folders(root / "folders", {"daisy": 5, "rose": 4, "tulip": 3}))


def shards(root: Path) -> str:
    write_images(root / "data/train-0.parquet", [0, 1, 2] * 2)
    write_images(root / "data/train-1.parquet", [0, 1, 2] * 2, first_seed=90)
    return str(root / "data")


@pytest.mark.parametrize("build", [folders, shards])
def test_every_kind_of_image_set_can_be_selected_from(build: Callable[[Path], str], tmp_path):
    images = open_image_set(f"{build(tmp_path)}#classes=tulip,daisy&per_class=2")
    assert images.class_names == ("tulip", "daisy")
    assert np.bincount(images.labels_N).tolist() == [2, 2]


@pytest.mark.parametrize("split", ["", "train", "test"])
def test_demo_can_be_selected_from(split):
    images = open_image_set(f"demo://{split}#classes=nine,five&per_class=5")
    whole = open_image_set(f"demo://{split}")
    contents = contents_of(images)
    assert images.class_names == ("nine", "five")
    assert np.bincount(images.labels_N).tolist() == [5, 5]
    found = dict(zip(contents_of(whole), whole.labels_N.tolist(), strict=True))
    assert [{4: 0, 0: 1}[found[content]] for content in contents] == images.labels_N.tolist()


def test_a_probe_set_can_be_drawn_from_a_selection(parquet):
    probe = sample_probe_set(open_image_set(f"{parquet}#classes=tulip,rose&per_class=4"), size=6)
    assert probe.class_names == ("tulip", "rose")
    assert len(probe) == 6


def test_classes_of_one_name_are_not_mixed_where_none_are_chosen(tmp_path):
    write_images(tmp_path / "a.parquet", [0, 1, 2] * 3, names=("crane", "crane", "crow"))
    images = open_image_set(f"{tmp_path}/a.parquet#per_class=2")
    assert np.bincount(images.labels_N).tolist() == [2, 2, 2]
    assert len(set(contents_of(images))) == 6


def test_names_are_unquoted(tmp_path):
    names = ("a,b", "c&d", "100%")
    write_images(tmp_path / "a.parquet", [0, 1, 2], names=names)
    images = open_image_set(f"{tmp_path}/a.parquet#classes=100%,c%26d,a%2Cb")
    assert images.class_names == ("100%", "c&d", "a,b")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("a.parquet", None),
        ("a#b/c.parquet", None),
        ("a#b=c/d.parquet", None),
        ("a#my_seed=3", None),
        ("run#1&seed=3/a.parquet", None),
        ("run#1&2/a.parquet#seed=0", "run#1&2/a.parquet"),
        ("a#b=c/d.parquet#seed=0", "a#b=c/d.parquet"),
        ("a.parquet#classes=C#,F#&seed=0", "a.parquet"),
        ("s3://bucket/a#per_class=3", "s3://bucket/a"),
    ],
)
def test_a_selection_begins_at_the_mark_that_known_keys_follow(address, place):
    base, selection = split_selection(address)
    assert base == (place or address)
    assert (selection is None) == (place is None)


def test_values_are_read_as_they_are_written():
    _, selection = split_selection("a#classes=C#,F#&per_class=30:230&seed=5")
    assert selection == Selection(("C#", "F#"), 30, 230, 5)


def test_a_folder_may_have_a_number_sign_in_its_name(tmp_path):
    root = write_folders(tmp_path / "run#1 v=2", {"daisy": 3, "rose": 3})
    assert len(open_image_set(str(root))) == 6
    assert len(open_image_set(f"{root}#per_class=2")) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clases=rose", "unknown key in the selection of .*: 'clases': did you mean 'classes'"),
        ("clases=rose&seed=0", "unknown key .*: 'clases': did you mean 'classes'"),
        ("seed=0&clases=rose", "unknown key .*: 'clases': did you mean 'classes'"),
        ("seed=0&", "unknown key .*: '': Known: classes, per_class, seed"),
        ("seed=0&seed=1", "'seed' stands there twice"),
        ("seed=0&per_class", "'per_class' has no value"),
        ("classes=rosa", "unknown class in .*: 'rosa': did you mean 'rose'"),
        ("classes=rose,daisy,rose", "classes has 'rose' twice"),
        ("classes=", "classes has an empty name"),
        ("classes=rose,,daisy", "classes has an empty name"),
        ("seed=-1", "seed must be a whole number from 0 on, not '-1'"),
        ("seed=x", "seed must be a whole number from 0 on, not 'x'"),
        ("seed=", "seed must be a whole number from 0 on, not ''"),
        ("per_class=", "per_class must be like 30 .*, not ''"),
        ("per_class=x", "per_class must be like 30 .*, not 'x'"),
        ("per_class=-3", "per_class must be like 30 .*, not '-3'"),
        ("per_class=:3", "per_class must be like 30 .*, not ':3'"),
        ("per_class=1:2:3", "per_class must be like 30 .*, not '1:2:3'"),
        ("per_class=1.5", "per_class must be like 30 .*, not '1.5'"),
        ("per_class=0", "per_class=0 selects no image"),
        ("per_class=5:5", "per_class=5:5 selects no image"),
        ("per_class=5:2", "per_class=5:2 selects no image"),
        ("per_class=7:", "selects none of 20 images"),
        ("per_class=6:", "leaves 'tulip' without images"),
    ],
)
def test_a_wrong_selection_is_told_in_one_line(text, message, parquet):
    with pytest.raises(UserError, match=message) as caught:
        open_image_set(f"{parquet}#{text}")
    assert f"{parquet}#{text}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistyped_key_is_told_for_the_demo_too():
    with pytest.raises(UserError, match=r"unknown key .*: 'per_clas': did you mean 'per_class'"):
        open_image_set("demo://test#per_clas=3")


def test_a_class_of_the_metadata_that_has_no_images_is_told(tmp_path):
    write_images(tmp_path / "a.parquet", [0, 2, 0, 2])
    with pytest.raises(UserError, match="leaves 'rose' without images"):
        open_image_set(f"{tmp_path}/a.parquet#per_class=1")
    assert len(open_image_set(f"{tmp_path}/a.parquet#per_class=1&classes=tulip,daisy")) == 2


def test_cifar_gives_disjoint_parts_of_a_few_classes(shared):
    address = f"{shared}/data/cifar100/train.parquet#classes=bear,leopard,lion"
    labelled = open_image_set(f"{address}&per_class=30")
    rest = open_image_set(f"{address}&per_class=30:230", labelled=False)
    assert np.bincount(labelled.labels_N).tolist() == [30] * 3
    assert not set(contents_of(labelled)) & set(contents_of(rest))
