"""``ray job submit`` as a user runs it, on a real Ray head that is started for it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import REPO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RAY = str(Path(sys.executable).parent / "ray")
TEACHERS = 12
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Head:
    """A running head."""

    address: str
    folder: Path
    environment: dict[str, str]

    def ray(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RAY, *arguments],
            cwd=REPO,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def submit(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Submit ``python jobs/assess.py`` and wait for its end."""
        job = ["python", "jobs/assess.py", *map(str, arguments)]
        options = ["--address", self.address, "--submission-id", name, "--working-dir", "."]
        return self.ray("job", "submit", *options, "--", *job, timeout=300)

    def status(self, name: str) -> str:
        return self.ray("job", "status", "--address", self.address, name).stdout

    def log(self, name: str) -> str:
        """All that the job itself printed."""
        return (self.folder / "session_latest" / "logs" / f"job-driver-{name}.log").read_text()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_of(folder: Path, session: int) -> list[int]:
    """This head's processes and no other cluster's: by its own folder or its own session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            pid = int(entry.name)
            command = (entry / "cmdline").read_bytes()
            if command and (os.getsid(pid) == session or os.fsencode(f"{folder}/") in command):
                found.append(pid)
    return found


def stop(head: subprocess.Popen[bytes], folder: Path) -> None:
    head.terminate()
    with suppress(subprocess.TimeoutExpired):
        head.wait(30)
    deadline = time.monotonic() + 30
    while (left := processes_of(folder, head.pid)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        head.poll()
        time.sleep(0.2)
    assert not left, f"still running: {left}"


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Sockets lie below it, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="rk", dir="/tmp"))
    port, dashboard, agent, client = free_ports(4)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{Path(RAY).parent}{os.pathsep}{os.environ['PATH']}",  # the job's python
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on the loopback interface
        "RAY_USAGE_STATS_ENABLED": "0",
        # Below `uv run` the head would take its own folder for a project and upload it.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_worker_niceness": "0",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "COLUMNS": "200",
    }
    options = {
        "node-ip-address": "127.0.0.1",
        "port": port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "num-cpus": 2,
        "temp-dir": folder,
        "object-store-memory": 200 * MEBIBYTE,
    }
    log = folder / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [RAY, "start", "--head", "--block", *(f"--{k}={v}" for k, v in options.items())],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while not (is_open(dashboard) and is_open(agent)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield Head(f"http://127.0.0.1:{dashboard}", folder, environment)
    finally:
        stop(process, folder)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_job_ranks_the_demo_and_a_second_one_has_nothing_to_do(
    head: Head, tmp_path: Path
) -> None:
    board = tmp_path / "board"
    first = head.submit("first", "--out", board)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "ten_digits" in first.stdout
    assert f"{TEACHERS} assessed" in first.stdout
    assert f"leaderboard: {board}" in first.stdout
    assert "Job 'first' succeeded" in head.status("first")

    table = pq.read_table(board / "leaderboard.parquet")
    assert table["status"].to_pylist() == ["ok"] * TEACHERS
    assert sorted(table["rank"].to_pylist()) == list(range(1, TEACHERS + 1))

    second = head.submit("second", "--out", board)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"0 assessed; {TEACHERS} unchanged and not assessed again" in second.stdout
    assert pq.read_table(board / "leaderboard.parquet").equals(table)


def test_a_mistake_fails_the_job_with_one_line(head: Head, tmp_path: Path) -> None:
    board = tmp_path / "board"
    done = head.submit("mistake", "--out", board, "--cost", "nope")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Job 'mistake' failed" in head.status("mistake")
    log = head.log("mistake")
    last = log.strip().splitlines()[-1]
    assert last.startswith("error: "), log
    assert "nope" in last
    assert "Traceback" not in log
    assert not board.exists()


def test_the_upload_is_the_code_and_little_more(head: Head, tmp_path: Path) -> None:
    # A mistake is found soon: the upload is all that matters here.
    head.submit("upload", "--out", tmp_path / "board", "--cost", "nope")
    packages = head.folder / "session_latest" / "runtime_resources" / "working_dir_files"
    # One for each state of the working tree, should it change during the tests.
    uploads = [path for path in packages.iterdir() if path.is_dir()]
    assert uploads
    for package in uploads:
        names = {path.name for path in package.iterdir()}
        assert {"jobs", "rayxkd", "pyproject.toml"} <= names
        assert not names & {".git", ".venv"}
        # Without what Python compiled there while the jobs ran.
        size = sum(path.stat().st_size for path in package.rglob("*") if path.suffix != ".pyc")
        assert size < 5 * MEBIBYTE, f"{size / MEBIBYTE:.1f} MiB"
