"""Shards of the WebDataset format."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import fsspec
import pytest

from rayxkd.data import open_image_set
from rayxkd.errors import UserError
from tests.data.builders import encoded_image


def write_shard(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(first: int, labels: list[str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for place, label in enumerate(labels, first):
        files[f"{place:06}.png"] = encoded_image(place)
        files[f"{place:06}.cls"] = label.encode()
        files[f"{place:06}.txt"] = b"a caption"
    return files


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shard(tmp_path / "set/train-000000.tar", samples(0, ["1", "0", "2"]))
    write_shard(tmp_path / "set/train-000001.tar", samples(3, ["2", "1"]))
    return tmp_path / "set"


def test_shards_follow_one_another(shards: Path) -> None:
    images = open_image_set(str(shards))
    assert images.class_names == ("0", "1", "2")
    assert images.labels_N.tolist() == [1, 0, 2, 2, 1]
    assert images.read([4, 0, 3, 0]) == [encoded_image(seed) for seed in (4, 0, 3, 0)]
    assert len(open_image_set(str(shards / "train-000001.tar"))) == 2


@pytest.mark.parametrize("name", ["classnames.txt", "classes.txt"])
def test_a_file_beside_them_names_the_classes(name: str, shards: Path) -> None:
    (shards / name).write_text("daisy\nrose\ntulip\nnever seen\n")
    images = open_image_set(str(shards))
    assert images.class_names == ("daisy", "rose", "tulip", "never seen")
    assert images.labels_N.tolist() == [1, 0, 2, 2, 1]


def test_labels_may_be_names_or_json(tmp_path: Path) -> None:
    files = {"x/a.JPG": encoded_image(0, "JPEG"), "x/a.cls": b"rose\n"}
    for place, key in enumerate(("label", "cls", "class", "category"), 1):
        files[f"x/{place}.seg.png"] = b"another file of the sample"
        files[f"x/{place}.png"] = encoded_image(place)
        files[f"x/{place}.json"] = json.dumps({key: "daisy", "more": [1]}).encode()
    images = open_image_set(str(write_shard(tmp_path / "one.tar", files)))
    assert images.class_names == ("daisy", "rose")
    assert images.labels_N.tolist() == [1, 0, 0, 0, 0]
    assert images.read([0]) == [encoded_image(0, "JPEG")]


def test_labels_are_not_needed_where_none_are_asked_for(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.tar", {"a.png": encoded_image(0), "b.png": encoded_image(1)})
    assert len(open_image_set(str(file), labelled=False)) == 2
    with pytest.raises(UserError, match="image 1 has no label"):
        open_image_set(str(file))


def test_they_may_lie_anywhere(shards: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/web", recursive=True)
    images = open_image_set("memory://web#classes=2,0")
    assert images.read([0, 1, 2]) == [encoded_image(seed) for seed in (1, 2, 3)]
    memory.rm("/web", recursive=True)


def test_links_and_holes_are_no_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(UserError, match="holds no images"):
        open_image_set(str(tmp_path / "a.tar"))


def test_a_class_that_is_not_named_is_told(shards: Path) -> None:
    (shards / "classes.txt").write_text("daisy\nrose\n")
    with pytest.raises(UserError, match="'2' is none of its 2 classes"):
        open_image_set(str(shards))


def test_splits_are_not_mixed(shards: Path) -> None:
    write_shard(shards / "test-000000.tar", samples(0, ["1"]))
    with pytest.raises(UserError, match="several splits"):
        open_image_set(str(shards))


def test_compressed_and_damaged_archives_are_told(tmp_path: Path) -> None:
    packed = write_shard(tmp_path / "a.tar", samples(0, ["1"]), "w:gz")
    with pytest.raises(UserError, match="is no uncompressed tar archive"):
        open_image_set(str(packed))
    whole = write_shard(tmp_path / "b.tar", samples(0, ["1"] * 30))
    whole.write_bytes(whole.read_bytes()[:-15_000])
    with pytest.raises(UserError, match="is no uncompressed tar archive"):
        open_image_set(str(whole))
