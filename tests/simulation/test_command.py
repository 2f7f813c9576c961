"""The command as a user runs it, and what it must promise."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.simulation import SimulateSettings, simulate
from rayxkd.status import Status
from tests.conftest import REPO
from tests.simulation.test_workload import board_of, failed, timed


def run(*arguments: str) -> int:
    from rayxkd.cli import app

    return run_app(app, ["simulate", *arguments])


def test_the_job_without_options() -> None:
    done = subprocess.run(
        [sys.executable, str(REPO / "jobs" / "simulate.py")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1,000 teachers on at most 8 GPU(s)" in done.stdout
    assert "a scan of five MobileNets" in done.stdout


def test_a_leaderboard_once_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [timed(f"t{number}", 1.0, 8.0, 1.0) for number in range(8)]
    board_of(tmp_path, *rows)
    # Eight teachers are worth two workers: four each. A machine of two GPUs costs 2 x 3 an hour.
    options = ("--gpus", "4", "--gpus-per-machine", "2", "--price", "3", "--start", "20s")
    clock = ("--boot", "60s", "--idle", "0s", "--driver", "0", "--write", "0")
    assert run("--leaderboard", str(tmp_path), *options, *clock, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["makespan"] == pytest.approx(60 + 20 + 4 * 10)
    assert found["teachers"] == 8
    assert found["machine_hours"] == pytest.approx(120 / 3600)
    assert found["cost"] == pytest.approx(6 * 120 / 3600)
    assert found["cost_per_thousand"] == pytest.approx(1000 * found["cost"] / 8)
    assert found["lower_bound"] == pytest.approx(80 / 4)
    assert f"8 teachers of {tmp_path}" in found["source"]


def test_what_people_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board_of(tmp_path, timed("a", 1.0, 8.0, 1.0))
    faults = ("--interruptions", "0.3", "--slow-share", "0.1", "--download", "100")
    assert run("--leaderboard", str(tmp_path), "--teachers", "500", "--price", "2", *faults) == 0
    said = capsys.readouterr().out
    for part in (
        "500 teachers",
        "0.3 of the machines taken away in an hour",
        "0.1 of them 2 times slower",
        "store: 100 MB/s to a worker, any to all",
        "x the lower bound",
        "for 1,000 teachers",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--teachers", "0"], "--teachers must be above zero, not 0"),
        (["--gpus", "-1"], "--gpus must be above zero"),
        (["--interruptions", "1"], "from 0 to below 1, not 1"),
        (["--slow-share", "2"], "--slow-share must be from 0 to 1"),
        (["--gpus", "6", "--gpus-per-machine", "4"], "multiple of --gpus-per-machine 4"),
        (["--price=-1"], "--price must be zero or more"),
        (["--boot=-1s"], "--boot must be zero or more"),
        (["--driver=-1"], "--driver must be zero or more"),
        (["--download", "nan"], "--download must be above zero"),
        (["--leaderboard", "nowhere"], "there is no leaderboard at nowhere"),
    ],
)
def test_wrong_input_is_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*options) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_what_hangs_needs_a_deadline(tmp_path: Path) -> None:
    board_of(tmp_path, timed("a", 1.0, 8.0, 1.0), failed("b", Status.TIMEOUT))
    settings = SimulateSettings(leaderboard=str(tmp_path), timeout=None)
    with pytest.raises(UserError, match="give a --timeout"):
        simulate(settings)
    outcome, _ = simulate(replace(settings, timeout=timedelta(seconds=50)))
    assert (outcome.failed, outcome.longest) == (1, 50.0)


def test_without_simpy_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "simpy":
            raise ImportError(name)
        return whole(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"install rayxkd\[simulate\]"):
        simulate(SimulateSettings())


def large(**changes: Any) -> SimulateSettings:
    return SimulateSettings(teachers=100_000, gpus=256, **changes)


@pytest.mark.slow
def test_a_hundred_thousand_teachers_end_near_the_bound() -> None:
    outcome, _ = simulate(large())
    assert outcome.over_bound <= 1.05
    assert outcome.interruptions == 0


@pytest.mark.slow
def test_so_they_do_where_machines_are_taken_away_and_the_store_is_slow() -> None:
    outcome, _ = simulate(
        large(interruptions=0.05, latency=0.1, download=50.0, store=2000.0, write=0.2)
    )
    assert outcome.over_bound <= 1.15
    assert outcome.interruptions > 20
    # About as many as 256 machines lose in the hours that it takes.
    hours = outcome.makespan / timedelta(hours=1).total_seconds()
    assert outcome.interruptions == pytest.approx(256 * 0.0513 * hours, rel=0.5)
