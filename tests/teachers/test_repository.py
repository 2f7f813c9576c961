from __future__ import annotations

import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.teachers import RejectedCard, TeacherCard, load_teacher
from rayxkd.teachers import open_repositories as open_all
from rayxkd.teachers.errors import TeacherError
from tests.teachers.folders import CPU, write_card

GOOD = {"library_name": "torch.export", "num_classes": 2}


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty folder of each kind of storage."""
    if request.param == "local":
        yield str(tmp_path)
    elif request.param == "s3":
        yield request.getfixturevalue("bucket")
    else:
        yield "memory://teachers"
        fsspec.filesystem("memory").store.clear()


def put(address: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        with fsspec.open(f"{address}/{name}", "wb", auto_mkdir=True) as file:
            file.write(content)


def as_json(**entries: Any) -> bytes:
    return json.dumps(GOOD | entries).encode()


def cards_at(*addresses: str) -> dict[str, TeacherCard | RejectedCard]:
    cards = [card for repository in open_all(addresses) for card in repository.cards()]
    by_name = {card.teacher: card for card in cards}
    assert len(by_name) == len(cards)
    return by_name


def test_teachers_are_found_at_any_depth(place):
    put(
        f"{place}/zoo",
        {
            "README.md": b"not a teacher",
            "images/cat.png": b"neither",
            "a/config.json": as_json(),
            "a/model.pt2": b"12345",
            "b/c/d/config.json": as_json(num_classes=7),
            "b/c/d/model.pt2": b"",
            "b/broken/config.json": b"{",
            "lonely/weights/model.safetensors": b"123",
        },
    )
    cards = cards_at(f"{place}/zoo")
    assert list(cards) == ["zoo/a", "zoo/b/broken", "zoo/b/c/d", "zoo/lonely/weights"]
    assert cards["zoo/b/c/d"].num_classes == 7
    assert cards["zoo/a"].weights_file == "a/model.pt2"
    assert [card.weights_bytes for card in cards.values()] == [5, 1, 0, 3]
    assert {card.repository for card in cards.values()} == {f"{place}/zoo"}
    lonely = cards["zoo/lonely/weights"]
    assert (lonely.status, lonely.reason) == (Status.INVALID, "the folder has no config.json")
    assert cards["zoo/b/broken"].status is Status.INVALID


def test_the_root_may_be_a_teacher_itself(place):
    put(f"{place}/solo", {"config.json": as_json(), "model.pt2": b"1"})
    (card,) = cards_at(f"{place}/solo/").values()
    assert isinstance(card, TeacherCard)
    assert (card.teacher, card.folder, card.weights_file) == ("solo", "", "model.pt2")


def test_a_teacher_inside_a_teacher_is_another_one(place):
    put(f"{place}/zoo", {"config.json": as_json(), "student/config.json": as_json()})
    assert list(cards_at(f"{place}/zoo")) == ["zoo", "zoo/student"]


def test_an_empty_or_missing_repository_is_the_users_error(place):
    with pytest.raises(UserError, match=f"there is no repository at {place}/none"):
        cards_at(f"{place}/none")
    put(f"{place}/zoo", {"notes/README.md": b"nothing here"})
    with pytest.raises(UserError, match="holds no teacher: a teacher is a folder with"):
        cards_at(f"{place}/zoo")


def test_an_empty_local_folder_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="holds no teacher"):
        cards_at(str(tmp_path))


@pytest.mark.parametrize("begin", ["", "./"])
def test_an_archive_made_anywhere_names_its_teachers(tmp_path, begin):
    put(f"{tmp_path}/zoo", {"a/config.json": as_json(), "b/c/config.json": as_json()})
    with tarfile.open(tmp_path / "zoo.tar", "w") as file:
        file.add(tmp_path / "zoo", begin or "zoo")
    (repository,) = open_all([f"tar://{'' if begin else 'zoo'}::{tmp_path}/zoo.tar"])
    names = [card.teacher for card in repository.cards()]
    assert names == (["a", "b/c"] if begin else ["zoo/a", "zoo/b/c"])


@pytest.mark.parametrize(("name", "wanted"), [("z.zip", "zip"), ("z.tar", "tar"), ("z.tgz", "tar")])
def test_an_archive_without_its_protocol_is_one_line(place, name, wanted):
    put(place, {name: b"whatever"})
    with pytest.raises(UserError, match=f"is an archive: give {wanted}://::{place}/{name}"):
        cards_at(f"{place}/{name}")


def test_an_unknown_scheme_is_the_users_error():
    with pytest.raises(UserError, match="unknown address scheme 's4'"):
        open_all(["s4://bucket/zoo"])


def test_the_same_address_twice_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="names an address twice"):
        open_all([str(tmp_path), f"{tmp_path}/x/.."])


def test_names_are_unique_across_repositories(tmp_path):
    for folder in ("one/zoo/t", "two/zoo/t", "three/birds/t"):
        write_card(tmp_path / folder, **GOOD)
    names = list(
        cards_at(*(f"{tmp_path}/{folder}" for folder in ("one/zoo", "two/zoo", "three/birds")))
    )
    assert names == [f"{tmp_path}/one/zoo/t", f"{tmp_path}/two/zoo/t", "birds/t"]


def test_names_are_unique_across_kinds_of_storage(tmp_path):
    address = str(tmp_path)
    for place in (address, f"memory://{address}"):
        put(place, {"t/config.json": as_json()})
    try:
        assert len(cards_at(address, f"memory://{address.lstrip('/')}")) == 2
    finally:
        fsspec.filesystem("memory").store.clear()


def test_a_long_name_is_no_folder_of_another_repository(tmp_path):
    root = str(tmp_path).lstrip("/")
    first = root.split("/")[0]
    for folder in ("zoo/t", "other/zoo/t", f"x/{root}/zoo/t"):
        write_card(tmp_path / folder, **GOOD)
    # The third's short name is the address of the first without its slash.
    cards_at(f"{tmp_path}/zoo", f"{tmp_path}/other/zoo", f"{tmp_path}/x/{first}")


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_folder_name_that_is_no_text_can_still_be_shown(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "zoo") + b"/caf\xe9"))
    write_card(folder, **GOOD)
    (folder / "model.pt2").write_bytes(b"1")
    ((name, card),) = cards_at(str(tmp_path / "zoo")).items()
    assert name.encode() == b"zoo/caf\\udce9"
    with open_all([str(tmp_path / "zoo")])[0].weights(card) as weights:
        assert weights.read_bytes() == b"1"


def test_links_that_turn_in_circles_end(tmp_path):
    write_card(tmp_path / "zoo" / "a", **GOOD)
    (tmp_path / "zoo" / "a" / "again").symlink_to("..")
    assert list(cards_at(str(tmp_path / "zoo"))) == ["zoo/a"]


def test_no_weights_are_read_while_listing(tmp_path):
    """A weights file of 8 TiB: whoever reads it does not return."""
    folder = write_card(tmp_path / "zoo" / "huge", **GOOD)
    with (folder / "model.pt2").open("wb") as file:
        file.truncate(2**43)
    (card,) = cards_at(str(tmp_path / "zoo")).values()
    assert isinstance(card, TeacherCard)
    assert card.weights_bytes == 2**43


def test_thousands_of_teachers_are_listed_in_seconds(tmp_path):
    content = as_json(label_names=["cat", "dog"])
    for number in range(2_000):
        folder = tmp_path / f"family{number % 40}" / f"teacher{number}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(content)
        (folder / "model.pt2").touch()
    start = time.perf_counter()
    assert len(cards_at(str(tmp_path))) == 2_000
    assert time.perf_counter() - start < 15


def test_weights_are_fetched_and_removed_again(place, program_folder):
    put(
        f"{place}/zoo",
        {f"t/{file.name}": file.read_bytes() for file in program_folder.iterdir()},
    )
    (repository,) = open_all([f"{place}/zoo"])
    (card,) = repository.cards()
    with repository.weights(card) as weights:
        assert load_teacher(card, weights, CPU).parameters == 137
    assert weights.exists() == repository.storage.is_local


def test_weights_that_disappeared_are_invalid(place):
    put(f"{place}/zoo", {"t/config.json": as_json(), "t/model.pt2": b"1"})
    (repository,) = open_all([f"{place}/zoo"])
    (card,) = repository.cards()
    repository.storage.remove("t/model.pt2")
    with pytest.raises(TeacherError) as caught, repository.weights(card):
        pass
    assert caught.value.status is Status.INVALID
    assert "weights" in caught.value.reason
