"""A folder of class folders."""

from __future__ import annotations

import pytest

from rayxkd.data import open_image_set
from rayxkd.errors import UserError
from tests.data.builders import encoded_image, write_folders


def test_classes_are_sorted_by_name_and_labels_follow_them(tmp_path):
    images = open_image_set(str(write_folders(tmp_path, {"tulip": 1, "daisy": 3, "rose": 2})))
    assert images.class_names == ("daisy", "rose", "tulip")
    assert images.labels_N.tolist() == [0, 0, 0, 1, 1, 2]
    assert images.labels_N.dtype == "int64"
    assert len(images) == 6


def test_class_is_the_first_folder_however_deep_the_image_lies(tmp_path):
    write_folders(tmp_path, {"daisy": 1, "rose/red/dark": 1, "rose/white": 1})
    images = open_image_set(str(tmp_path))
    assert images.class_names == ("daisy", "rose")
    assert images.labels_N.tolist() == [0, 1, 1]


def test_other_files_are_no_images_and_make_no_class(tmp_path):
    write_folders(tmp_path, {"daisy": 1, "rose": 1})
    (tmp_path / "daisy/notes.txt").write_text("not an image")
    (tmp_path / "README.md").write_text("not an image")
    (tmp_path / "stray.png").write_bytes(encoded_image(9))  # in no class folder
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/labels.csv").write_text("a,b")
    images = open_image_set(str(tmp_path))
    assert images.class_names == ("daisy", "rose")
    assert len(images) == 2


def test_suffixes_of_images_are_told_in_any_case(tmp_path):
    write_folders(tmp_path, {"daisy": 1})
    (tmp_path / "daisy/camera.JPG").write_bytes(encoded_image(1, "JPEG"))
    (tmp_path / "daisy/scan.Tiff").write_bytes(encoded_image(2, "TIFF"))
    assert len(open_image_set(str(tmp_path))) == 3


def test_read_gives_the_files_that_are_asked_for_in_that_order(tmp_path):
    write_folders(tmp_path, {"daisy": 2, "rose": 2})
    images = open_image_set(str(tmp_path))
    assert images.read([3, 0, 2, 0]) == [encoded_image(seed) for seed in (3, 0, 2, 0)]
    assert images.read([]) == []


@pytest.mark.parametrize("name", ["img[1].png", "why?.png", "all*.png", "{a,b}.png", "ö 1.png"])
def test_file_names_are_never_patterns(name, tmp_path):
    write_folders(tmp_path, {"daisy": 2})
    (tmp_path / "daisy" / name).write_bytes(b"content")
    images = open_image_set(str(tmp_path))
    contents = images.read(range(len(images)))
    assert sorted(contents) == sorted([encoded_image(0), encoded_image(1), b"content"])


def test_an_image_that_has_gone_is_none(tmp_path):
    images = open_image_set(str(write_folders(tmp_path, {"daisy": 2})))
    (tmp_path / "daisy/0000.png").unlink()
    assert images.read([0, 1]) == [None, encoded_image(1)]


def test_images_without_class_folders_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded_image(0))
    with pytest.raises(UserError, match="one folder of images a class"):
        open_image_set(str(tmp_path))
