"""Processes that do jobs, and what becomes of them, without Ray."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from rayxkd.cache import CACHE_VARIABLE
from rayxkd.fleet.child import Seat, Share
from rayxkd.fleet.outcome import Ended, Overdue, Raised, Returned, StartError
from rayxkd.fleet.parcel import Parcel
from rayxkd.fleet.supervisor import Orders, Supervisor

MEBIBYTE = 2**20


class Runner:
    """Does what its job says."""

    def __init__(self, seat: Seat, numbers: np.ndarray, refuses: bool = False) -> None:
        if refuses:
            raise ValueError("no such device")
        self.seat, self.numbers = seat, numbers
        self.prepared: list[str] = []
        self.leaked: Any = None

    def prepare(self, job: str) -> None:
        self.prepared.append(job)

    def run(self, job: str) -> Any:
        return getattr(self, job)()

    def who(self) -> int:
        return os.getpid()

    def sum(self) -> int:
        return int(self.numbers.sum())

    def seen(self) -> list[str]:
        return self.prepared

    def modules(self) -> list[str]:
        return sorted(sys.modules)

    def segfault(self) -> None:
        ctypes.string_at(0)

    def exit(self) -> None:
        os._exit(3)

    def hang(self) -> None:
        time.sleep(3600)

    def hold(self) -> None:
        """Hang where no other thread of Python's can do anything about it."""
        ctypes.PyDLL(None).sleep(3600)

    def divide(self) -> None:
        raise ZeroDivisionError("division by zero")

    def read(self) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    def fill(self) -> None:
        np.ones(400 * MEBIBYTE // 8)

    def leak(self) -> None:
        self.leaked = np.ones(200 * MEBIBYTE // 8)

    def lambda_(self) -> Callable[[], int]:
        return lambda: 1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def supervisor(*shared: Any, timeout: float | None = None, memory: int | None = None) -> Supervisor:
    numbers = np.arange(50_000)
    with Parcel.of((Runner, (numbers, *shared))).on_disk() as packed:
        return Supervisor(Orders(packed, Share(1, memory=memory), timeout, ("torch",)))


@pytest.fixture(scope="module")
def shared_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        found = supervisor(timeout=3.0, memory=300 * MEBIBYTE)
    yield found
    found.process.kill()
    found.process.wait()


def do(one: Supervisor, job: str, upcoming: str | None = None) -> Any:
    return one.do(pickle.dumps(job), None if upcoming is None else pickle.dumps(upcoming))


def value(one: Supervisor, job: str) -> Any:
    outcome = do(one, job)
    assert isinstance(outcome, Returned), outcome
    return outcome.value


def test_jobs_are_done_by_one_process_that_reads_what_is_shared(shared_one: Supervisor) -> None:
    assert value(shared_one, "sum") == np.arange(50_000).sum()
    assert value(shared_one, "who") == value(shared_one, "who")
    assert value(shared_one, "who") not in (os.getpid(), shared_one.process.pid)


def test_the_next_job_is_prepared_meanwhile(shared_one: Supervisor) -> None:
    do(shared_one, "exit")
    do(shared_one, "sum", upcoming="who")
    deadline = time.monotonic() + 10
    while not value(shared_one, "seen"):
        assert time.monotonic() < deadline
    assert value(shared_one, "seen") == ["who"]


@pytest.mark.parametrize(
    ("job", "outcome", "how"),
    [
        ("segfault", Ended(-signal.SIGSEGV), "Segmentation fault (SIGSEGV)"),
        ("exit", Ended(3), "exit code 3"),
        ("hang", Overdue(), ""),
        ("hold", Overdue(), ""),
    ],
)
def test_a_job_that_ends_its_process_costs_nothing_but_itself(
    shared_one: Supervisor, job: str, outcome: Any, how: str
) -> None:
    before = value(shared_one, "who")
    told = do(shared_one, job)
    assert told == outcome
    assert getattr(told, "how", "") == how
    assert value(shared_one, "who") != before
    assert not psutil.pid_exists(before)


@pytest.mark.parametrize(
    ("job", "raised"),
    [
        ("divide", Raised("division by zero")),
        ("read", Raised("[Errno 2] No such file or directory", is_files=True)),
    ],
)
def test_what_raises_keeps_its_process(shared_one: Supervisor, job: str, raised: Raised) -> None:
    before = value(shared_one, "who")
    assert do(shared_one, job) == raised
    assert value(shared_one, "who") == before


def test_what_cannot_be_told_is_a_failure_of_the_job(shared_one: Supervisor) -> None:
    outcome = do(shared_one, "lambda_")
    assert isinstance(outcome, Raised)
    assert "pickle" in outcome.message
    assert isinstance(shared_one.do(b"no pickle"), Raised)


@pytest.mark.skipif(sys.platform != "linux", reason="no bound elsewhere")
def test_memory_beyond_the_bound_is_refused_and_what_leaks_is_given_back(
    shared_one: Supervisor,
) -> None:
    before = value(shared_one, "who")
    outcome = do(shared_one, "fill")
    assert isinstance(outcome, Raised)
    assert outcome.is_memory
    assert value(shared_one, "who") == before
    do(shared_one, "leak")
    assert value(shared_one, "who") != before
    assert not psutil.pid_exists(before)


def test_what_is_imported_beforehand_is_there(shared_one: Supervisor) -> None:
    assert "torch" in value(shared_one, "modules")


def test_a_process_that_is_killed_between_two_jobs_costs_neither(shared_one: Supervisor) -> None:
    before = psutil.Process(value(shared_one, "who"))
    before.kill()
    psutil.wait_procs([before], timeout=10)
    assert value(shared_one, "who") != before.pid


def test_a_runner_that_cannot_be_made_is_told() -> None:
    with pytest.raises(StartError, match="ValueError: no such device"):
        supervisor(True)


@pytest.mark.parametrize("job", ["hang", "hold"])
def test_nothing_outlives_the_supervisor_and_whoever_asks_is_told(job: str) -> None:
    one = supervisor()
    child = psutil.Process(value(one, "who"))
    one._connection.send((pickle.dumps(job), None))
    one.process.kill()
    with pytest.raises(StartError, match="ended"):
        one._ask(None)
    one.process.wait()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_the_supervisor_ends_with_whoever_asks() -> None:
    one = supervisor()
    child = psutil.Process(value(one, "who"))
    one._connection.send((pickle.dumps("hold"), None))
    one._connection.close()
    assert one.process.wait(10) == 0
    assert not child.is_running()
