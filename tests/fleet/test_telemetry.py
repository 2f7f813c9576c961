"""How far a scan is, in words, and what a job tells Ray."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rayxkd.fleet.job import JobNote
from rayxkd.fleet.progress import ScanProgress
from rayxkd.fleet.telemetry import Snapshot


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_snapshot_in_words() -> None:
    assert Snapshot(60).line() == "0/60 teachers, 0 failed, 0 images/s, 0 worker(s)"
    later = Snapshot(60, done=20, failed=1, images=2_000, seconds=10.0, workers=3)
    expected = "20/60 teachers, 1 failed, 200 images/s, 3 worker(s), about 20 s left"
    assert later.line() == expected


def test_a_log_hears_of_a_scan_now_and_then_and_listeners_every_time() -> None:
    clock, written, heard = Clock(), io.StringIO(), []

    def tell(now: Snapshot, *, at_once: bool = False) -> None:
        heard.append((now.done, now.failed, now.workers, at_once))

    console = Console(file=written, width=200)
    with ScanProgress(4, console, tell, now=clock) as progress:
        for seconds, failed in ((10, False), (31, True), (40, False)):
            clock.seconds = seconds
            progress.advance(failed=failed, images=100, workers=2)
    begun, ended = (0, 0, 0, True), (3, 1, 0, True)
    assert heard == [begun, (1, 0, 2, False), (2, 1, 2, False), (3, 1, 2, False), ended]
    assert written.getvalue().splitlines() == [
        "2/4 teachers, 1 failed, 6 images/s, 2 worker(s), about 31 s left"
    ]


@pytest.mark.parametrize("value", [None, "", "no json", "{}", '{"metadata": 3}'])
def test_a_process_that_is_no_submitted_job_has_no_note(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if value is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", value)
    assert JobNote.of_this_job() is None


def test_a_note_that_cannot_be_written_holds_nothing_up(ray_session: object) -> None:
    """No such job: there is nothing that Ray could show."""
    JobNote(b"_ray_internal_job_info_nobody").tell("3/4", {"rayxkd_done": "3"}, at_once=True)
