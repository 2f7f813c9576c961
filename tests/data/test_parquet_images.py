"""Images in Parquet files."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayxkd.data import open_image_set
from rayxkd.errors import UserError
from tests.data.builders import IMAGE_TYPE, NAMES, encoded_image, image_table, write_images


def test_one_file(tmp_path):
    written = write_images(tmp_path / "train.parquet", [2, 0, 1, 0])
    images = open_image_set(str(tmp_path / "train.parquet"))
    assert images.class_names == NAMES
    assert images.labels_N.tolist() == [2, 0, 1, 0]
    assert images.labels_N.dtype == "int64"
    assert images.read(range(4)) == written


@pytest.mark.parametrize("row_group_size", [1, 3, 10, None])
def test_read_gives_the_images_that_are_asked_for_in_that_order(row_group_size, tmp_path):
    written = write_images(tmp_path / "a.parquet", [0, 1] * 5, row_group_size=row_group_size)
    images = open_image_set(str(tmp_path / "a.parquet"))
    wanted = [9, 0, 4, 4, 3, 9, 1]
    assert images.read(wanted) == [written[place] for place in wanted]
    assert images.read([]) == []


def test_empty_row_groups_are_stepped_over(tmp_path):
    table = image_table([encoded_image(0), encoded_image(1)], [0, 1])
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for rows in (table[:0], table[:1], table[:0], table[1:]):
            writer.write_table(rows, row_group_size=1)
    images = open_image_set(str(tmp_path / "a.parquet"))
    assert images.read([1, 0]) == [encoded_image(1), encoded_image(0)]


def test_only_row_groups_that_are_asked_for_are_read(tmp_path):
    """The second row group is destroyed after opening: the first can still be read."""
    file = tmp_path / "a.parquet"
    written = write_images(file, [0, 1, 0, 1], row_group_size=2)
    images = open_image_set(str(file))
    column = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content = bytearray(file.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    file.write_bytes(content)
    assert images.read([0, 1]) == written[:2]
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as Parquet"):
        images.read([2])


def test_shards_in_a_folder_follow_one_another(tmp_path):
    first = write_images(tmp_path / "data/train-00000-of-00002.parquet", [0, 1])
    second = write_images(tmp_path / "data/train-00001-of-00002.parquet", [2, 2], first_seed=50)
    (tmp_path / "README.md").write_text("other files do not matter")
    images = open_image_set(str(tmp_path))
    assert images.labels_N.tolist() == [0, 1, 2, 2]
    assert images.read([3, 0, 2]) == [second[1], first[0], second[0]]


@pytest.mark.parametrize(
    "files",
    [
        ["0000", "0001"],
        ["0", "1"],
        ["part-0", "part-1", "part-10"],
        ["train-00000-of-00002-5f3a", "train-00001-of-00002-77be"],
        ["part-00000-1b9d6bcd-bbfd.c000", "part-00001-1b9d6bcd-bbfd.c000"],
        ["7_000000_000000", "7_000001_000000"],
        ["train/0000", "train/0001"],
    ],
)
def test_shards_are_told_by_the_numbers_that_writers_give_them(files, tmp_path):
    for place, name in enumerate(files):
        write_images(tmp_path / f"{name}.parquet", [0, 1], first_seed=10 * place)
    assert len(open_image_set(str(tmp_path))) == 2 * len(files)


@pytest.mark.parametrize(
    "files",
    [
        ["train", "test"],
        ["train-00000-of-00001", "test-00000-of-00001"],
        ["flowers-train", "flowers-test"],
        ["cifar100-train", "cifar100-test"],
        ["train/0000", "test/0000"],
        ["train/data", "test/data"],
    ],
)
def test_several_splits_in_a_folder_are_never_mixed(files, tmp_path):
    for name in files:
        write_images(tmp_path / f"{name}.parquet", [0, 1])
    with pytest.raises(UserError, match="holds several splits") as caught:
        open_image_set(str(tmp_path))
    assert f"such as {tmp_path}/" in str(caught.value)
    for name in files:
        assert len(open_image_set(str(tmp_path / f"{name}.parquet"))) == 2


def test_without_names_classes_are_called_by_their_labels(tmp_path):
    write_images(tmp_path / "a.parquet", [0, 2, 1], names=None)
    assert open_image_set(str(tmp_path / "a.parquet")).class_names == ("0", "1", "2")


@pytest.mark.parametrize("note", [b"", b"not JSON", b"[]", b'{"info": {"features": null}}'])
def test_metadata_that_name_no_classes_are_as_none(note, tmp_path):
    table = image_table([encoded_image(0)], [0], names=None)
    pq.write_table(table.replace_schema_metadata({"huggingface": note}), tmp_path / "a.parquet")
    assert open_image_set(str(tmp_path / "a.parquet")).class_names == ("0",)


def test_shards_that_name_other_classes_are_refused(tmp_path):
    write_images(tmp_path / "train-0.parquet", [0, 1], names=("cat", "dog"))
    write_images(tmp_path / "train-1.parquet", [0, 1], names=("dog", "cat"))
    with pytest.raises(UserError, match="do not name the same classes"):
        open_image_set(str(tmp_path))


def test_a_null_image_is_none(tmp_path):
    table = image_table([encoded_image(0), None, encoded_image(2)], [0, 1, 0])
    pq.write_table(table, tmp_path / "a.parquet")
    images = open_image_set(str(tmp_path / "a.parquet"))
    assert images.read([0, 1, 2]) == [encoded_image(0), None, encoded_image(2)]


def test_an_image_that_is_only_a_path_is_none(tmp_path):
    value = {"bytes": None, "path": "elsewhere.png"}
    table = pa.table({"image": pa.array([value], IMAGE_TYPE), "label": [0]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_image_set(str(tmp_path / "a.parquet")).read([0]) == [None]


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int32(), pa.int64()])
def test_labels_are_integers_of_any_width(kind, tmp_path):
    table = image_table([encoded_image(0), encoded_image(1)], [1, 0])
    column = table["label"].cast(kind)
    pq.write_table(table.set_column(1, "label", column), tmp_path / "a.parquet")
    assert open_image_set(str(tmp_path / "a.parquet")).labels_N.tolist() == [1, 0]


IMAGES = pa.array([{"bytes": b"", "path": ""}] * 2, IMAGE_TYPE)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": IMAGES, "label": [0, 1]}, "no column 'image'; its columns are 'picture'"),
        ({"image": IMAGES, "target": [0, 1]}, "no column 'label'"),
        ({"image": [b"a", b"b"], "label": [0, 1]}, "must be a struct with a field 'bytes', not bi"),
        ({"image": [{"path": "a"}] * 2, "label": [0, 1]}, "must be a struct with a field 'bytes'"),
        ({"image": IMAGES, "label": ["daisy", "rose"]}, "must hold integers, not string"),
        ({"image": IMAGES, "label": [0.0, 1.0]}, "must hold integers, not double"),
        ({"image": IMAGES, "label": [0, None]}, "1 images have no label"),
        ({"image": IMAGES, "label": [-1, 0]}, "labels run from -1 to 0"),
        ({"image": IMAGES, "label": [0, 10**15]}, "does not fit 2 images"),
    ],
)
def test_what_cannot_be_an_image_set_is_told_in_one_line(columns, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=message) as caught:
        open_image_set(str(tmp_path / "a.parquet"))
    assert str(tmp_path / "a.parquet") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_beyond_the_class_names_are_refused(tmp_path):
    write_images(tmp_path / "a.parquet", [0, 3], names=NAMES)
    with pytest.raises(UserError, match="labels run from 0 to 3, which does not fit 3 class names"):
        open_image_set(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("kept", [0, 3, 1_000, -20])
def test_what_is_no_whole_parquet_file_is_refused(kept, tmp_path):
    buffer = io.BytesIO()
    pq.write_table(image_table([encoded_image(seed) for seed in range(10)], [0] * 10), buffer)
    (tmp_path / "a.parquet").write_bytes(buffer.getvalue()[:kept])
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as Parquet"):
        open_image_set(str(tmp_path / "a.parquet"))


def test_a_folder_of_parquet_files_with_one_that_is_none_is_refused(tmp_path):
    write_images(tmp_path / "train-0.parquet", [0, 1])
    (tmp_path / "train-1.parquet").write_text("not Parquet")
    with pytest.raises(UserError, match=r"train-1\.parquet cannot be read as Parquet"):
        open_image_set(str(tmp_path))
