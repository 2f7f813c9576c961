"""Licences and pinned digests: who is admitted, and who is a row that says why not."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.teachers import RejectedCard, TeacherCard, open_repositories, teacher_digest
from rayxkd.teachers.admission import Pins, open_pins, with_license
from rayxkd.teachers.errors import TeacherError
from tests.teachers.folders import write_card

CARD = {"library_name": "torch.export", "num_classes": 2}


def folder(path: Path, license: str | None = None) -> Path:
    write_card(path, **CARD, **({"license": license} if license else {}))
    (path / "model.pt2").write_bytes(path.name.encode())
    return path


def cards_of(zoo: Path) -> list[TeacherCard | RejectedCard]:
    (repository,) = open_repositories([str(zoo)])
    return repository.cards()


@pytest.mark.parametrize("license", ["Apache-2.0", "apache-2.0", "APACHE 2.0", "apache_2.0"])
def test_licenses_are_compared_as_names(tmp_path, license):
    (card,) = cards_of(folder(tmp_path / "t", license))
    assert with_license(card, ["apache-2.0", "mit"]) is card
    assert with_license(card, []) is card
    refused = with_license(card, ["mit"])
    assert isinstance(refused, RejectedCard)
    assert refused.status is Status.UNTRUSTED
    assert "--license allows mit" in refused.reason


def test_a_card_without_license_is_not_allowed(tmp_path):
    (card,) = cards_of(folder(tmp_path / "t"))
    refused = with_license(card, ["mit"])
    assert isinstance(refused, RejectedCard)
    assert "names no license" in refused.reason


def sums(zoo: Path, *names: str) -> str:
    """What sha256sum itself writes."""
    done = subprocess.run(["sha256sum", *names], cwd=zoo, capture_output=True, check=True)
    return os.fsdecode(done.stdout)


def test_pins_of_sha256sum_are_demanded(tmp_path):
    for name in ("a", "b"):
        folder(tmp_path / "zoo" / name)
    file = tmp_path / "pins"
    file.write_text(sums(tmp_path / "zoo", "a/model.pt2", "./a/config.json"))
    a, b = (open_pins(str(file)).applied(card, "zoo") for card in cards_of(tmp_path / "zoo"))
    assert isinstance(a, TeacherCard)
    weights = tmp_path / "zoo" / "a" / "model.pt2"
    assert a.pin == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert teacher_digest(a, weights) == teacher_digest(replace(a, pin=""), weights)
    assert isinstance(b, RejectedCard)
    assert f"no SHA-256 in {file}" in b.reason
    weights.write_bytes(b"other")
    with pytest.raises(TeacherError, match="the pinned one is") as caught:
        teacher_digest(a, weights)
    assert caught.value.status is Status.UNTRUSTED


def test_a_card_of_another_digest_is_refused(tmp_path):
    zoo = tmp_path / "zoo"
    folder(zoo / "a")
    (zoo / "SHA256SUMS").write_text(sums(zoo, "a/model.pt2", "a/config.json"))
    (card,) = cards_of(zoo)
    assert isinstance(card, TeacherCard)
    folder(zoo / "a", "mit")
    (card,) = cards_of(zoo)
    assert isinstance(card, RejectedCard)
    assert "its config.json has the SHA-256" in card.reason


def test_a_repositorys_own_sums_need_not_name_everything(tmp_path):
    zoo = tmp_path / "zoo"
    for name in ("a", "b"):
        folder(zoo / name)
    (zoo / "SHA256SUMS").write_text(sums(zoo, "a/model.pt2"))
    a, b = cards_of(zoo)
    assert isinstance(a, TeacherCard)
    assert isinstance(b, TeacherCard)
    assert (bool(a.pin), bool(b.pin)) == (True, False)


@pytest.mark.parametrize("content", [b"no sums", b"\xff\xff", b"ab  a/model.pt2"])
def test_sums_of_a_repository_that_are_none_cost_its_teachers_their_rows(tmp_path, content):
    folder(tmp_path / "zoo" / "a")
    (tmp_path / "zoo" / "SHA256SUMS").write_bytes(content)
    (card,) = cards_of(tmp_path / "zoo")
    assert isinstance(card, RejectedCard)
    assert card.status is Status.UNTRUSTED
    assert "SHA256SUMS" in card.reason


def test_sums_that_never_end_are_not_read(tmp_path):
    folder(tmp_path / "zoo" / "a")
    os.mkfifo(tmp_path / "zoo" / "SHA256SUMS")
    (card,) = cards_of(tmp_path / "zoo")
    assert isinstance(card, RejectedCard)
    assert "'SHA256SUMS' is no regular file" in card.reason


def test_pins_that_are_none_are_the_users_error(tmp_path):
    with pytest.raises(UserError, match=r"line 2 of pins is no line of sha256sum"):
        Pins.parse("pins", f"{'0' * 64}  a\nnonsense\n", complete=True)
    with pytest.raises(UserError, match="cannot be read"):
        open_pins(str(tmp_path / "none"))


def test_names_that_sha256sum_escapes_are_found(tmp_path):
    zoo = tmp_path / "zoo"
    folder(zoo / "a\nb")
    pins = Pins.parse("pins", sums(zoo, "a\nb/model.pt2"), complete=True)
    (card,) = cards_of(zoo)
    assert isinstance(pins.applied(card, "zoo"), TeacherCard)
