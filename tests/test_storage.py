"""Files below one root: on a disk, in memory, and in a bucket behind a real S3 API."""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

import boto3
import pytest
import s3fs

from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.errors import UserError
from rayxkd.leaderboard import Journal, Leaderboard
from rayxkd.storage import Storage, known_schemes
from tests.data.builders import write_folders, write_images
from tests.leaderboard.builders import SCHEMA, assessment


@pytest.fixture(params=["local", "file", "memory", "s3"])
def root(request, tmp_path) -> str:
    """The address of a folder that does not exist yet."""
    if request.param == "local":
        return str(tmp_path / "root")
    if request.param == "file":
        return f"file://{tmp_path}/root"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/root"
    return f"{request.getfixturevalue('bucket')}/root"


@pytest.fixture
def storage(root: str) -> Storage:
    return Storage.at(root)


def test_what_is_written_can_be_read(storage, tmp_path):
    storage.write("a/b.bin", b"\x00content")
    assert storage.read("a/b.bin") == b"\x00content"
    assert storage.read_many(["a/b.bin"]) == {"a/b.bin": b"\x00content"}
    with storage.open("a/b.bin") as file:
        assert file.read() == b"\x00content"
    storage.download("a/b.bin", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"\x00content"
    storage.write("a/b.bin", b"new")
    assert storage.read("a/b.bin") == b"new"


def test_existence(storage, root):
    assert not storage.exists()
    assert not storage.exists("a")
    storage.write("a/b.bin", b"x")
    assert storage.exists()
    assert storage.exists("a")
    assert storage.exists("a/b.bin")
    assert not storage.exists("a/b")
    assert not storage.is_file()
    assert Storage.at(f"{root}/a/b.bin").is_file()


def test_find_lists_files_below_with_relative_paths_in_order(storage, root):
    for name in ("b.txt", "a/z.txt", "a/deep/er/x.txt", "a/[1]*.txt"):
        storage.write(name, name.encode())
    Storage.at(f"{root}-sibling").write("no.txt", b"not below")
    every = sorted(["b.txt", "a/z.txt", "a/deep/er/x.txt", "a/[1]*.txt"])
    found = storage.find()
    assert list(found) == every
    assert {name: details["size"] for name, details in found.items()} == {
        name: len(name) for name in every
    }
    assert list(storage.find("a")) == every[:-1]
    assert list(storage.find("a/deep")) == ["a/deep/er/x.txt"]
    assert list(Storage.at(f"{root}/").find()) == every
    assert list(storage.find("nothing")) == []


def test_a_root_that_is_a_file_holds_only_itself(storage, root):
    storage.write("a.bin", b"x")
    file = Storage.at(f"{root}/a.bin")
    assert list(file.find()) == [""]
    assert file.read() == b"x"
    assert file.name == "a.bin"


def test_read_many_gives_errors_as_values(storage):
    names = ["a.txt", "img[1].txt", "why?.txt", "all*.txt", "ü 🦜.txt", "empty.txt"]
    for name in names:
        storage.write(name, b"" if name == "empty.txt" else name.encode())
    found = storage.read_many([*names, "missing.txt", "all[.txt"])
    assert list(found) == [*names, "missing.txt", "all[.txt"]
    assert all(found[name] == name.encode() for name in names[:-1])
    assert found["empty.txt"] == b""
    assert isinstance(found["missing.txt"], FileNotFoundError)
    assert isinstance(found["all[.txt"], FileNotFoundError)
    assert storage.read_many([]) == {}
    assert isinstance(storage.read_many(["gone"])["gone"], FileNotFoundError)


def test_remove_takes_files_folders_and_nothing(storage):
    for name in ("a/1.txt", "a/b/2.txt", "ab/3.txt", "4.txt"):
        storage.write(name, b"x")
    storage.remove("a")
    storage.remove("4.txt")
    storage.remove("never was")
    assert list(storage.find()) == ["ab/3.txt"]


def test_version_changes_whenever_the_file_does(storage):
    storage.write("w", b"one")
    first = storage.version("w")
    assert storage.version("w") == first
    storage.write("w", b"two")
    assert storage.version("w") != first
    assert isinstance(first, str)


def test_urls_lead_back_to_the_same_file(storage, root):
    storage.write("a/b.txt", b"x")
    assert storage.url_of("a/b.txt") == f"{storage.url}/a/b.txt"
    assert storage.url_of("") == storage.url
    assert Storage.at(storage.url_of("a/b.txt")).read() == b"x"
    assert storage.name == "root"
    assert Storage.at(f"{root}/").url == storage.url


def test_version_changes_even_if_size_and_time_stay(tmp_path):
    """A file that was unpacked or synchronised may carry the size and time of the one before."""
    storage = Storage.at(str(tmp_path))
    storage.write("w", b"one")
    first, times = storage.version("w"), (tmp_path / "w").stat()
    storage.write("w", b"two")
    os.utime(tmp_path / "w", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (tmp_path / "w").stat().st_mtime_ns == times.st_mtime_ns
    assert storage.version("w") != first


def test_paths_from_home_and_relative_ones_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Storage.at("a/../b").url == str(tmp_path / "b")
    assert Storage.at("~/b").url == str(tmp_path / "home/b")
    assert Storage.at("b").is_local
    assert Storage.at("b").local_path("c") == tmp_path / "b/c"


def test_the_root_of_a_file_system_is_a_root():
    memory = Storage.at("memory://")
    name = f"{uuid.uuid4().hex}.txt"
    memory.write(name, b"x")
    assert memory.url_of(name) == f"memory://{name}"
    assert Storage.at(f"memory://{name}").read() == b"x"
    assert name in memory.find()
    assert not memory.is_local
    assert Storage.at("/").url == "/"
    assert Storage.at("/").url_of("etc") == "/etc"
    assert Storage.at("file:///").path("etc") == "/etc"


def failing_fsync(_):
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("earlier", [None, b"old"])
def test_a_write_that_fails_leaves_what_was_there(earlier, tmp_path, monkeypatch):
    storage = Storage.at(str(tmp_path))
    if earlier is not None:
        storage.write("f", earlier)
    monkeypatch.setattr(os, "fsync", failing_fsync)
    with pytest.raises(OSError, match="Input/output error"):
        storage.write("f", b"new and longer")
    left = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert left == ({} if earlier is None else {"f": earlier})


def test_a_write_that_cannot_take_its_place_leaves_no_temporary_file(tmp_path):
    (tmp_path / "f/inside").mkdir(parents=True)  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match="f"):
        Storage.at(str(tmp_path)).write("f", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_readers_never_see_a_part(tmp_path, monkeypatch):
    """While the new content is on its way, the old one is there, whole."""
    storage, seen = Storage.at(str(tmp_path)), []
    storage.write("f", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(storage.read("f")))
    storage.write("f", b"new" * 100_000)
    assert seen == [b"old"]
    assert storage.read("f") == b"new" * 100_000


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s4://bucket", "unknown address scheme 's4': did you mean 's3'"),
        ("memroy://x", "unknown address scheme 'memroy': did you mean 'memory'"),
        ("simplecache::s4://bucket", "unknown address scheme 's4'"),
    ],
)
def test_an_unknown_scheme_is_answered_with_near_ones(address, message):
    with pytest.raises(UserError, match=message):
        Storage.at(address)


def test_known_schemes_are_ours_and_those_of_fsspec():
    assert {"demo", "s3", "gs", "memory", "file", "hf"} <= set(known_schemes())


@pytest.mark.parametrize(
    ("address", "module", "message"),
    [
        ("gs://bucket/x", "gcsfs", r"gs:// needs a library that is missing: install rayxkd\[gcs\]"),
        ("abfs://box/x", "adlfs", "abfs:// needs a library that is missing: Install adlfs"),
    ],
)
def test_a_missing_library_is_told_with_what_to_install(address, module, message, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=message):
        Storage.at(address)


def test_a_host_that_does_not_answer_is_told():
    with pytest.raises(UserError, match=r"cannot open ftp://127\.0\.0\.1:1/x: .*refused"):
        Storage.at("ftp://127.0.0.1:1/x")


def test_a_bucket_without_credentials_is_one_line(bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(UserError, match=f"{bucket}/x cannot be read: Unable to locate cred"):
            open_image_set(f"{bucket}/x")
        with pytest.raises(UserError, match=rf"--out {bucket}/x cannot be written: Unable to loc"):
            Journal(Storage.at(f"{bucket}/x")).begin({})
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_markers_of_folders_in_a_bucket_are_no_files(bucket):
    """What a console of the store makes when one creates a folder there."""
    client, name = boto3.client("s3"), uuid.uuid4().hex
    for key in (f"{name}/", f"{name}/empty/", f"{name}/a.txt"):
        client.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=b"")
    assert list(Storage.at(f"{bucket}/{name}").find()) == ["a.txt"]
    client.put_object(Bucket=bucket.removeprefix("s3://"), Key=f"{name}-out/", Body=b"")
    Journal(Storage.at(f"{bucket}/{name}-out")).begin({})
    assert list(Storage.at(f"{bucket}/{name}-out").find()) == ["scan.json"]


def test_refresh_sees_what_others_wrote_into_a_bucket(bucket):
    storage = Storage.at(f"{bucket}/{uuid.uuid4().hex}")
    storage.write("a.txt", b"one")
    first = (list(storage.find()), storage.version("a.txt"))
    client = boto3.client("s3")
    for name in ("a.txt", "b.txt"):
        client.put_object(
            Bucket=bucket.removeprefix("s3://"), Key=f"{storage.name}/{name}", Body=b"two"
        )
    storage.refresh()
    assert first[0] == ["a.txt"]
    assert list(storage.find()) == ["a.txt", "b.txt"]
    assert storage.version("a.txt") != first[1]


# What lies above storage works the same wherever the files are.


def copy(folder: Path, target: Storage) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            target.write(str(file.relative_to(folder)), file.read_bytes())


@pytest.mark.parametrize("layout", ["folders", "parquet"])
def test_an_image_set_has_the_same_digest_everywhere(layout, storage, root, tmp_path):
    local = tmp_path / "local"
    if layout == "folders":
        write_folders(local, {"daisy": 4, "rose": 3})
    else:
        for shard in (0, 1):
            write_images(
                local / f"train-0000{shard}-of-00002.parquet",
                [0, 1, 2] * 2,
                first_seed=100 * shard,
                row_group_size=4,
            )
    copy(local, storage)
    images, there = open_image_set(str(local)), open_image_set(root)
    assert there.class_names == images.class_names
    assert there.read([5, 0, 2]) == images.read([5, 0, 2])
    assert sample_probe_set(there, 6).digest == sample_probe_set(images, 6).digest
    assert there.address == root


def test_an_image_that_has_gone_is_none_everywhere(storage, root, tmp_path):
    copy(write_folders(tmp_path / "local", {"daisy": 2}), storage)
    images = open_image_set(root)
    storage.remove("daisy/0000.png")
    first, second = images.read([0, 1])
    assert first is None
    assert second is not None


def test_a_leaderboard_can_lie_everywhere(root):
    journal = Journal(Storage.at(root))
    journal.begin({"cost": "learned"})
    rows = [assessment("zoo/[1] a|b", cost=1.0), assessment("zoo/broken")]
    for row in rows:
        journal.write_part(assessment(row.teacher), SCHEMA)
        journal.write_part(row, SCHEMA)

    again = Journal(Storage.at(root))
    again.begin({"cost": "learned"})
    assert sorted(again.read_parts(), key=lambda row: row.teacher) == rows
    again.write_table(again.read_parts(), SCHEMA)
    assert Leaderboard.open(root).table["teacher"].to_pylist() == ["zoo/[1] a|b", "zoo/broken"]

    with pytest.raises(UserError, match="was written with --cost learned, not prototype"):
        again.begin({"cost": "prototype"})
    again.begin({"cost": "prototype"}, fresh=True)
    assert again.read_parts() == []
    with pytest.raises(UserError, match="there is no leaderboard"):
        Leaderboard.open(root)


def test_a_directory_of_somebody_else_is_refused_everywhere(storage, root):
    storage.write("thesis.tex", b"work")
    with pytest.raises(UserError, match=r"holds 'thesis\.tex', which is no leaderboard"):
        Journal(Storage.at(root)).begin({}, fresh=True)
    assert storage.read("thesis.tex") == b"work"


def test_a_bucket_that_does_not_exist_is_told(bucket):
    with pytest.raises(UserError, match=r"there is nothing at s3://missing-bucket/x"):
        open_image_set("s3://missing-bucket/x")
    with pytest.raises(
        UserError, match=r"--out s3://missing-bucket/x cannot be written: .* bucket"
    ):
        Journal(Storage.at("s3://missing-bucket/x")).begin({})
