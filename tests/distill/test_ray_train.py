"""Real Ray Train: the same student as in one process, whoever is killed on the way."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from rayxkd.distill.outcome import DistillReport
from rayxkd.errors import UserError
from tests.conftest import REPO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Run = Callable[..., DistillReport]
# Epochs of about a second: long enough to be killed in.
EPOCHS = 5
TRAINING = {"epochs": EPOCHS, "epoch_images": 1_000, "batch_size": 32}


def assert_same(one: pa.Table, other: pa.Table) -> None:
    """To 1e-6, every epoch and every column."""
    assert one.column_names == other.column_names
    assert one.num_rows == other.num_rows
    for name in one.column_names:
        expected = pytest.approx(other[name].to_pylist(), abs=1e-6, rel=1e-6)
        assert one[name].to_pylist() == expected, name


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def trainers(root: int) -> list[int]:
    """Ray Train's workers among the descendants of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            pid = int(entry.name)
            if b"ray::RayTrainWorker" not in (entry / "cmdline").read_bytes():
                continue
            above = pid
            while above > 1 and above != root:
                above = parent_of(above)
            if above == root:
                found.append(pid)
    return found


class Killing(Console):
    """Kills the worker a moment after the end of an epoch was told, once."""

    def __init__(self, epoch: int) -> None:
        super().__init__(file=io.StringIO(), width=200)
        self.told: list[str] = []
        self.killed: list[int] = []
        self._when = f"student epoch {epoch}/"

    def print(self, *parts: Any, **_: Any) -> None:
        self.told.append(str(parts[0]))
        if self.told[-1].startswith(self._when) and not self.killed:
            self.killed = trainers(os.getpid())
            timer = threading.Timer(0.4, self._kill)
            timer.start()

    def _kill(self) -> None:
        for pid in self.killed:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def undisturbed(run: Run, ray_session: Any, tmp_path: Path) -> DistillReport:
    """In this process, with as many threads as Ray Train gives its one worker."""
    with threads(int(ray_session.cluster_resources()["CPU"])):
        return run(training=TRAINING, out=str(tmp_path / "undisturbed"))


def epochs_told(lines: list[str]) -> list[str]:
    return [line.split()[2] for line in lines if line.startswith("student epoch")]


IN_ORDER = [f"{epoch}/{EPOCHS}" for epoch in range(1, EPOCHS + 1)]


def test_one_worker_trains_what_this_process_trains(
    run: Run, undisturbed: DistillReport, tmp_path: Path
) -> None:
    told = io.StringIO()
    report = run(training=TRAINING, workers=1, console=Console(file=told, width=200))
    assert report.passed.asked == 0
    assert_same(report.metrics, undisturbed.metrics)
    assert report.test == undisturbed.test
    assert epochs_told(told.getvalue().splitlines()) == IN_ORDER
    assert report.epochs == EPOCHS
    assert not (tmp_path / "student" / ".ray").exists()
    # Where nothing is left to train, nobody is asked for it.
    again = run(training=TRAINING, workers=1)
    assert again.epochs == 0
    assert_same(again.metrics, undisturbed.metrics)


def test_a_worker_killed_in_the_middle_of_an_epoch(run: Run, undisturbed: DistillReport) -> None:
    console = Killing(epoch=2)
    report = run(training=TRAINING, workers=1, console=console)
    assert len(console.killed) == 1, "or nobody was killed and nothing is shown"
    with pytest.raises(ProcessLookupError):
        os.kill(console.killed[0], 0)
    assert_same(report.metrics, undisturbed.metrics)
    assert report.test == undisturbed.test
    # Nothing is repeated but the epoch in which it was killed, which was never told.
    assert epochs_told(console.told) == IN_ORDER


def test_a_worker_that_dies_too_often_is_one_line_and_can_go_on(
    run: Run, undisturbed: DistillReport
) -> None:
    console = Killing(epoch=2)
    with pytest.raises(UserError) as caught:
        run(training=TRAINING, workers=1, max_failures=0, console=console)
    assert console.killed
    assert "the training failed" in str(caught.value)
    assert "\n" not in str(caught.value)
    report = run(training=TRAINING, workers=1)
    assert 0 < report.epochs < EPOCHS
    assert_same(report.metrics, undisturbed.metrics)


def command(board: Path, out: str | Path, workers: int, epochs: int = EPOCHS) -> list[str]:
    options: dict[str, Any] = {
        "leaderboard": board,
        "out": out,
        "test": "demo://test",
        "mixtures": 20,
        "workers": workers,
        "training.epochs": epochs,
        "training.epoch-images": TRAINING["epoch_images"],
        "training.batch-size": TRAINING["batch_size"],
    }
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return [sys.executable, str(REPO / "jobs" / "distill.py"), *given]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}


def session_of(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            running = (entry / "cmdline").read_bytes()
            if running and os.getsid(pid) == session:
                found.append(pid)
    return found


def end_of(session: int) -> None:
    """No worker outlives its driver for long; Ray's agents do, and are ended here."""
    deadline = time.monotonic() + 60
    while (workers := set(session_of(session)) & set(trainers(1))) and time.monotonic() < deadline:
        time.sleep(0.5)
    for pid in session_of(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not workers


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.long), 1])
def test_a_driver_killed_and_started_again(
    board: Path, run: Run, request: pytest.FixtureRequest, tmp_path: Path, workers: int
) -> None:
    out = tmp_path / "student"
    arguments = command(board, out, workers)
    variables = environment()
    if workers:
        undisturbed = request.getfixturevalue("undisturbed")
    else:
        undisturbed = run(training=TRAINING, out=str(tmp_path / "undisturbed"))
    with subprocess.Popen(
        arguments,
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as driver:
        try:
            assert driver.stdout is not None
            told = []
            for line in driver.stdout:
                told.append(line)
                if line.startswith("student epoch 2/"):
                    time.sleep(0.4)
                    break
        finally:
            driver.kill()
            driver.wait(30)
            end_of(driver.pid)
    assert epochs_told(told) == IN_ORDER[:2]
    assert not (out / "config.json").exists()
    # A worker trains on until it notices that its driver has gone: that is kept too.
    kept = len(torch.load(out / "checkpoint.pt", weights_only=True)["history"])
    assert kept >= 2
    done = subprocess.run(
        arguments,
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert epochs_told(done.stdout.splitlines()) == IN_ORDER[kept:], "each epoch once"
    assert "0 views asked, 240 known before" in done.stdout
    assert_same(pq.read_table(out / "metrics.parquet"), undisturbed.metrics)
    assert not (out / ".ray").exists()


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_two_workers(run: Run) -> None:
    report = run(training=TRAINING | {"epochs": 8}, workers=2)
    assert report.metrics["epoch"].to_pylist() == list(range(1, 9))
    assert report.test is not None
    assert report.test.accuracy > 0.6, "chance is 0.2"


def test_more_workers_than_processors_are_one_line(run: Run, ray_session: Any) -> None:
    count = int(ray_session.cluster_resources()["CPU"]) + 1
    with pytest.raises(UserError, match=rf"--workers {count} with 0 GPU\(s\) each: the cluster"):
        run(workers=count)


@pytest.mark.usefixtures("ray_session")
def test_online_teachers_in_a_worker(run: Run) -> None:
    report = run(teacher_pass="online", workers=1)
    assert report.metrics.num_rows == 2
