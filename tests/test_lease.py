"""Who is at work in a directory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rayxkd.errors import UserError
from rayxkd.lease import LEASE_FILE, Lease, Pulse
from rayxkd.storage import Storage

_HOLD = """
import sys
from rayxkd.lease import Lease
from rayxkd.storage import Storage
with Lease(Storage.at(sys.argv[1]), "scan"):
    print("taken", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that has the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    return process


def never(_: float) -> None:
    raise AssertionError("it need not wait")


def note_of_elsewhere(storage: Storage, beat: int) -> None:
    note = {"run": "r", "machine": "far pid:[1]", "process": 7, "started": 1.0, "beat": beat}
    storage.write(LEASE_FILE, json.dumps(note).encode())


def test_a_second_run_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        with pytest.raises(UserError, match=rf"another scan is at work .*process {other.pid} on"):
            Lease(Storage.at(str(tmp_path)), "scan", wait=never).__enter__()
        assert other.stdin is not None
        other.stdin.close()
        assert other.wait(30) == 0
    assert list(tmp_path.iterdir()) == []
    with Lease(Storage.at(str(tmp_path)), "scan", wait=never):
        assert (tmp_path / LEASE_FILE).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_one_of_this_machine_blocks_for_no_moment(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.kill()
        other.wait(30)
        assert (tmp_path / LEASE_FILE).exists()
        with Lease(Storage.at(str(tmp_path)), "scan", wait=never) as lease:
            lease.check()


def test_a_number_that_is_used_again_is_not_that_process(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        note = json.loads((tmp_path / LEASE_FILE).read_text())
        (tmp_path / LEASE_FILE).write_text(json.dumps(note | {"started": note["started"] - 60}))
        with Lease(Storage.at(str(tmp_path)), "scan", wait=never):
            pass
        other.kill()


@pytest.mark.parametrize("place", ["{folder}", "memory://lease"])
def test_one_of_another_machine_that_renews_is_refused(place: str, tmp_path: Path) -> None:
    storage = Storage.at(place.format(folder=tmp_path))
    note_of_elsewhere(storage, beat=1)

    def wait(_: float) -> None:
        note_of_elsewhere(storage, beat=2)

    with pytest.raises(UserError, match="process 7 on far"):
        Lease(storage, "scan", wait=wait).__enter__()
    storage.remove(LEASE_FILE)


def test_one_of_another_machine_that_is_dead_is_replaced(tmp_path: Path) -> None:
    storage, waited, told = Storage.at(str(tmp_path)), list[float](), list[str]()
    note_of_elsewhere(storage, beat=1)

    with Lease(storage, "scan", tell=told.append, every=4, wait=waited.append) as lease:
        lease.check()

    assert waited == [4, 4, 4]
    assert told == [
        "--out was left by process 7 on far: looking for 12 s whether that scan is still at work"
    ]


def test_it_is_renewed_and_the_loser_hears_of_a_takeover(tmp_path: Path) -> None:
    storage = Storage.at(str(tmp_path))
    with Lease(storage, "scan", every=0.02) as lease:
        first = storage.read(LEASE_FILE)
        assert within(lambda: storage.read(LEASE_FILE) != first)
        lease.check()

        def is_taken() -> bool:
            note_of_elsewhere(storage, beat=1)
            return raises(lease.check, "another scan has taken")

        assert within(is_taken)
    # It is not his to remove.
    assert json.loads(storage.read(LEASE_FILE))["process"] == 7


def test_of_two_at_the_same_moment_one_stays(tmp_path: Path) -> None:
    storage = Storage.at(str(tmp_path))

    class Late(Lease):
        """Another run writes its note just after this one."""

        def _write(self) -> None:
            super()._write()
            note_of_elsewhere(storage, beat=1)

    with pytest.raises(UserError, match="another scan is at work"):
        Late(storage, "scan").__enter__()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_note_belongs_to_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LEASE_FILE).write_bytes(content)
    with Lease(Storage.at(str(tmp_path)), "scan", wait=never) as lease:
        lease.check()


def within(is_so: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether something becomes so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def raises(call: Callable[[], Any], match: str) -> bool:
    try:
        call()
    except UserError as error:
        return match in str(error)
    return False


def test_whoever_looks_on_sees_whether_a_run_is_still_at_work(tmp_path: Path) -> None:
    storage = Storage.at(str(tmp_path))
    assert Pulse(storage).has_stopped()
    with holder(tmp_path) as other:
        assert not Pulse(storage).has_stopped()
        other.kill()
        other.wait(30)
        assert Pulse(storage).has_stopped()


def test_a_run_elsewhere_has_stopped_when_nobody_renews_its_note(tmp_path: Path) -> None:
    storage, now = Storage.at(str(tmp_path)), 0.0
    pulse = Pulse(storage, clock=lambda: now)
    for beat in range(3):
        note_of_elsewhere(storage, beat)
        assert not pulse.has_stopped()
        now += 25
        assert not pulse.has_stopped()
    now += 25
    assert pulse.has_stopped()
    note_of_elsewhere(storage, 9)
    assert not pulse.has_stopped()
