"""Images without labels: where they may lie, and what a selection of them means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayxkd.data import ImageSet, open_image_set
from rayxkd.errors import UserError
from tests.data.builders import (
    IMAGE_TYPE,
    encoded_image,
    image_table,
    write_folders,
    write_images,
    write_unlabelled,
)


def unlabelled(address: Path | str) -> ImageSet:
    images = open_image_set(str(address), labelled=False)
    assert images.class_names == ()
    assert images.labels_N.dtype == np.int64
    assert images.labels_N.tolist() == [-1] * len(images)
    return images


def contents_of(images: ImageSet) -> list[bytes | None]:
    return images.read(range(len(images)))


def test_a_flat_folder(tmp_path):
    for seed in range(3):
        (tmp_path / f"{seed}.png").write_bytes(encoded_image(seed))
    (tmp_path / "notes.txt").write_text("not an image")
    assert contents_of(unlabelled(tmp_path)) == [encoded_image(seed) for seed in range(3)]


def test_class_folders_with_images_beside_them(tmp_path):
    write_folders(tmp_path, {"daisy": 2, "rose/red": 1})
    (tmp_path / "zebra.png").write_bytes(encoded_image(3))
    assert contents_of(unlabelled(tmp_path)) == [encoded_image(seed) for seed in range(4)]


def test_parquet_without_a_column_of_labels(tmp_path):
    written = write_unlabelled(tmp_path / "a.parquet", 4)
    images = unlabelled(tmp_path / "a.parquet")
    assert images.read([3, 0]) == [written[3], written[0]]
    assert len(images) == 4


@pytest.mark.parametrize("labels", [[0, 1, 2], [-1, -1, -1], [None, 0, None], ["a", "b", "c"]])
def test_a_column_of_labels_is_not_looked_at(labels, tmp_path):
    images = [encoded_image(seed) for seed in range(3)]
    values = pa.array([{"bytes": content, "path": ""} for content in images], IMAGE_TYPE)
    pq.write_table(pa.table({"image": values, "label": labels}), tmp_path / "a.parquet")
    assert contents_of(unlabelled(tmp_path / "a.parquet")) == images


def test_shards_some_of_which_have_labels(tmp_path):
    first = write_unlabelled(tmp_path / "train-0.parquet", 2)
    second = write_images(tmp_path / "train-1.parquet", [0, 1], first_seed=50)
    assert contents_of(unlabelled(tmp_path)) == first + second
    with pytest.raises(UserError, match="only some of its Parquet files have a column 'label'"):
        open_image_set(f"{tmp_path}#per_class=1", labelled=False)


def test_the_demo_without_its_labels():
    assert contents_of(unlabelled("demo://test")) == contents_of(open_image_set("demo://test"))


def test_labels_that_are_there_serve_the_selection_and_are_dropped(tmp_path):
    write_images(tmp_path / "a.parquet", [0, 1, 2] * 6)
    address = f"{tmp_path}/a.parquet#classes=tulip,daisy&per_class=2:5"
    images = unlabelled(address)
    assert contents_of(images) == contents_of(open_image_set(address))
    assert images.address == address
    assert len(images) == 6


def test_labelled_and_unlabelled_parts_share_no_image(tmp_path):
    write_folders(tmp_path, {"daisy": 6, "rose": 5})
    (tmp_path / "stray.png").write_bytes(encoded_image(99))  # has no class to be selected by
    labelled = contents_of(open_image_set(f"{tmp_path}#per_class=2"))
    rest = contents_of(unlabelled(f"{tmp_path}#per_class=2:"))
    assert sorted(labelled + rest) == sorted(encoded_image(seed) for seed in range(11))


def test_a_class_may_end_up_without_images(tmp_path):
    write_folders(tmp_path, {"daisy": 6, "rose": 2})
    assert len(unlabelled(f"{tmp_path}#per_class=2:")) == 4


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_without_labels_a_range_is_one_of_the_whole_shuffle(kind, tmp_path):
    place = tmp_path / kind
    if kind == "parquet":
        write_unlabelled(place, 10)
    else:
        place.mkdir()
        for seed in range(10):
            (place / f"{seed}.png").write_bytes(encoded_image(seed))
    order = np.random.default_rng(3).permutation(10)
    for text, expected in (("4", order[:4]), ("4:", order[4:]), ("2:5", order[2:5])):
        images = unlabelled(f"{place}#per_class={text}&seed=3")
        assert contents_of(images) == [encoded_image(seed) for seed in sorted(expected.tolist())]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("flat#classes=daisy", "these images have no labels, so leave out 'classes'"),
        ("a.parquet#classes=daisy", "these images have no labels, so leave out 'classes'"),
        ("a.parquet#per_class=3:", "selects none of 3 images"),
        ("b.parquet#classes=rosa", "unknown class in .*: 'rosa': did you mean 'rose'"),
        ("empty", "holds no images: give a folder of images, or a Parquet file"),
        ("empty.parquet", r"empty\.parquet holds no images"),
        ("flat/0.png", "is a single image: give a folder of images"),
        ("nothing", "there is nothing at .*/nothing"),
        ("c.parquet", "no column 'image'; its columns are 'picture'"),
    ],
)
def test_what_gives_no_images_is_told_in_one_line(address, message, tmp_path):
    for folder in ("flat", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "flat/0.png").write_bytes(encoded_image(0))
    write_unlabelled(tmp_path / "a.parquet", 3)
    write_images(tmp_path / "b.parquet", [0, 1, 2])
    pq.write_table(pa.table({"picture": [1]}), tmp_path / "c.parquet")
    pq.write_table(image_table([], []), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match=message) as caught:
        unlabelled(tmp_path / address)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_without_labels_are_still_refused_where_labels_are_needed(tmp_path):
    write_unlabelled(tmp_path / "a.parquet", 3)
    for text in ("", "#per_class=1"):
        with pytest.raises(UserError, match="has no column 'label'"):
            open_image_set(f"{tmp_path}/a.parquet{text}")
