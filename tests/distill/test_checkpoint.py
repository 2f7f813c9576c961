"""One directory a training: whose it is, what it was begun with, and the last state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rayxkd.distill import DistillSettings, TrainingSettings
from rayxkd.distill.checkpoint import RUN_FILE, Checkpoint
from rayxkd.errors import UserError
from rayxkd.storage import Storage

CPU = torch.device("cpu")
RECORDED = DistillSettings().recorded() | {"images": "abc", "teachers": {"zoo/a": "123"}}


def at(path: Path | str) -> Checkpoint:
    return Checkpoint(Storage.at(str(path)))


def refused(path: Path, recorded: dict[str, Any]) -> str:
    """The line that says why the directory cannot be used; nothing in it changes."""
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(UserError) as caught:
        at(path).begin(recorded)
    after = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert after == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_directory_is_begun_and_gone_on_with(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
    at(out).begin(RECORDED)
    assert json.loads((out / RUN_FILE).read_text())["settings"]["views"] == 2
    before = (out / RUN_FILE).stat().st_mtime_ns
    at(out).begin(RECORDED)
    assert (out / RUN_FILE).stat().st_mtime_ns == before
    assert at(out).load(CPU) is None


def test_a_directory_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "holds 'thesis.tex', which is no student of rayxkd" in refused(tmp_path, RECORDED)
    with pytest.raises(UserError, match=r"thesis\.tex"):
        at(tmp_path).begin(RECORDED, fresh=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("content", ['{"format": "another program"}', "[1]"])
def test_not_even_fresh_takes_what_another_program_began(tmp_path: Path, content: str) -> None:
    (tmp_path / RUN_FILE).write_text(content)
    (tmp_path / "data").write_text("years of work")
    assert "is no student of rayxkd" in refused(tmp_path, RECORDED)
    with pytest.raises(UserError, match="is no student of rayxkd"):
        at(tmp_path).begin(RECORDED, fresh=True)
    assert (tmp_path / "data").read_text() == "years of work"


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="holds 'out'"):
        at(tmp_path / "out").begin(RECORDED)
    assert (tmp_path / "out").read_text() == "a file"


CHANGES = {
    "--views 2, not 3": {"views": 3},
    "--student small_resnet8, not small_resnet14": {"student": "small_resnet14"},
    "--objective transport, not probe relation": {"objective": ("probe", "relation")},
    "--image-size (default), not 64": {"image_size": 64},
    "--training.learning-rate (default), not 0.5": {
        "training": TrainingSettings(learning_rate=0.5)
    },
}


@pytest.mark.parametrize("line", CHANGES)
def test_another_setting_is_told_as_it_is_typed(tmp_path: Path, line: str) -> None:
    at(tmp_path).begin(RECORDED)
    changed = DistillSettings(**CHANGES[line]).recorded()  # type: ignore[arg-type]
    found = refused(tmp_path, RECORDED | changed)
    assert f"was begun with {line}: give the same, another --out, or --fresh" in found


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"images": "other"}, "was begun with other images: give another --out"),
        ({"teachers": {"zoo/a": "456"}}, "was begun with other teachers"),
        ({"teachers": {}}, "was begun with other teachers"),
        ({"method": 99}, "was begun with another version of rayxkd"),
    ],
)
def test_what_is_no_option_is_told_in_words(
    tmp_path: Path, change: dict[str, Any], line: str
) -> None:
    at(tmp_path).begin(RECORDED)
    assert line in refused(tmp_path, RECORDED | change)


def test_an_option_comes_before_what_follows_from_it(tmp_path: Path) -> None:
    at(tmp_path).begin(RECORDED)
    found = refused(tmp_path, RECORDED | {"data": "elsewhere", "images": "other"})
    assert "--data demo://, not elsewhere" in found


def test_fresh_starts_anew(tmp_path: Path) -> None:
    at(tmp_path).begin(RECORDED)
    at(tmp_path).save({"epoch": 3})
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").write_text("old")
    at(tmp_path).begin(RECORDED | {"views": 3}, fresh=True)
    assert at(tmp_path).load(CPU) is None
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / RUN_FILE]
    at(tmp_path).begin(RECORDED | {"views": 3})


@pytest.mark.parametrize("content", ["", "{", '{"format": "rayxkd student"}'])
def test_a_damaged_note_is_one_line_and_fresh_mends_it(tmp_path: Path, content: str) -> None:
    (tmp_path / RUN_FILE).write_text(content)
    assert "is damaged: start anew with --fresh" in refused(tmp_path, RECORDED)
    at(tmp_path).begin(RECORDED, fresh=True)
    at(tmp_path).begin(RECORDED)


def test_a_state_is_kept_whole(tmp_path: Path) -> None:
    checkpoint = at(tmp_path)
    state = {"weights": {"a": torch.arange(5.0)}, "history": [{"loss": 0.1}], "digest": "x"}
    checkpoint.save(state)
    found = checkpoint.load(CPU)
    assert found is not None
    assert torch.equal(found["weights"]["a"], torch.arange(5.0))
    assert found["history"] == [{"loss": 0.1}]
    checkpoint.save(state | {"digest": "y"})
    assert (checkpoint.load(CPU) or {})["digest"] == "y"


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 half an archive"])
def test_a_damaged_state_is_one_line(tmp_path: Path, content: bytes) -> None:
    checkpoint = at(tmp_path)
    checkpoint.save({"a": torch.zeros(10)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        checkpoint.load(CPU)
    assert "checkpoint.pt is damaged" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_a_state_is_one_line(tmp_path: Path) -> None:
    checkpoint = at(tmp_path)
    checkpoint.save({"a": torch.zeros(1000)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged"):
        checkpoint.load(CPU)


class Bomb:
    def __reduce__(self) -> Any:
        return (os.system, ("touch exploded",))


def test_a_state_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"digest": Bomb()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="is damaged"):
        at(tmp_path).load(CPU)
    assert not (tmp_path / "exploded").exists()


def test_no_space_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = at(tmp_path)
    checkpoint.save({"digest": "first"})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written to .*No space left.*the last one is"):
        checkpoint.save({"digest": "second"})
    assert (checkpoint.load(CPU) or {})["digest"] == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    with pytest.raises(UserError, match=r"--out .* cannot be written: .*No space left"):
        at(tmp_path / "new").begin(RECORDED)


def test_on_a_bucket(bucket: str) -> None:
    checkpoint = at(f"{bucket}/students/one")
    checkpoint.begin(RECORDED)
    assert checkpoint.load(CPU) is None
    checkpoint.save({"digest": "x"})
    again = at(f"{bucket}/students/one")
    again.begin(RECORDED)
    assert again.load(CPU) == {"digest": "x"}
    with pytest.raises(UserError, match="--views 2, not 3"):
        again.begin(RECORDED | {"views": 3})
    again.begin(RECORDED | {"views": 3}, fresh=True)
    assert again.load(CPU) is None
