"""What the doctor says of storage, on real storage; nothing of it stays."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rayxkd.doctor.checks import Check, State
from rayxkd.doctor.nodes import Node, agents
from rayxkd.doctor.storage import examine_storage


@pytest.fixture
def nodes(ray_session: Any) -> Iterator[list[Node]]:
    with agents(ray_session) as found:
        yield found


def states(checks: list[Check]) -> list[State]:
    return [check.state for check in checks]


def test_a_folder_here_and_on_every_node(nodes: list[Node], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    checks = list(examine_storage(str(tmp_path), nodes))
    assert states(checks) == [State.OK, State.OK]
    assert "from 1 node(s)" in checks[1].detail
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_relative_path_is_the_same_place_for_all(
    nodes: list[Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert states(list(examine_storage("out", nodes))) == [State.OK, State.OK]
    assert not list(tmp_path.iterdir())


def test_folders_that_were_not_there_are_not_there_afterwards(tmp_path: Path) -> None:
    assert states(list(examine_storage(str(tmp_path / "a" / "b")))) == [State.OK]
    assert not list(tmp_path.iterdir())


def test_what_only_this_machine_sees_is_told(nodes: list[Node]) -> None:
    checks = list(examine_storage("memory://doctor", nodes))
    assert states(checks) == [State.OK, State.FAILED]
    assert "does not see what is written here" in checks[1].detail
    assert not fsspec.filesystem("memory").find("/doctor")


def test_a_bucket(bucket: str) -> None:
    assert states(list(examine_storage(f"{bucket}/boards"))) == [State.OK]
    assert not fsspec.filesystem("s3").find(bucket)


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    checks = list(examine_storage(f"{bucket}-other/boards"))
    assert states(checks) == [State.FAILED]
    assert "cannot be written" in checks[0].detail
    assert f"{bucket}-other" in checks[0].mend


def test_an_endpoint_that_never_answers_is_given_up(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        begun = time.monotonic()
        checks = list(examine_storage("s3://silent/boards", seconds=1.0))
    assert time.monotonic() - begun < 10
    assert checks[0].state == State.FAILED
    assert "no answer within 1 s" in checks[0].detail
    # Whether something was written cannot be known: its name is told.
    assert "rayxkd-doctor-" in checks[1].mend


@pytest.mark.parametrize("address", ["s4://bucket", "https://127.0.0.1:1/x", "file/below"])
def test_what_cannot_be_written_is_a_failed_line(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    checks = list(examine_storage(address))
    assert states(checks) == [State.FAILED]
    assert checks[0].mend
    assert (tmp_path / "file").read_text() == "no folder"
