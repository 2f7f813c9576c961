"""The command as a user runs it: exit codes, no traceback, no secrets."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rayxkd.doctor.checks import Check, State, failed, guarded, ok, warning
from rayxkd.doctor.report import Report
from tests.conftest import REPO


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, str(REPO / "jobs" / "doctor.py"), *arguments],
        env=inherited | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_healthy_machine_its_storage_and_a_cluster_with_a_bucket(
    bucket: str, tmp_path: Path
) -> None:
    done = doctor("--storage", str(tmp_path), f"{bucket}/boards")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("written, read, listed and deleted from 1 node(s)") == 2
    assert "FAILED" not in done.stdout
    assert "node " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 200
    assert not list(tmp_path.iterdir())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with a torch and a Ray that cannot be loaded."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in ("torch", "ray"):
        (folder / f"{name}.py").write_text(f"raise OSError('lib{name}.so: cannot open')\n")
    return folder


def test_broken_packages_are_lines_and_no_traceback(broken: Path, tmp_path: Path) -> None:
    done = doctor("--storage", str(tmp_path / "out"), PYTHONPATH=str(broken))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "libray.so: cannot open" in done.stdout
    assert "libtorch.so: cannot open" in done.stdout
    assert "To mend" in done.stdout
    assert "written, read and listed from here" in done.stdout


def test_no_secret_is_printed(broken: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = doctor(
        *("--no-cluster", "--storage", "ftp://me:hunter2secret@127.0.0.1:1/x"),
        *("https://127.0.0.1:1/x?X-Amz-Signature=5f5f5f5f", f"{tmp_path}/file/topsecretvalue"),
        PYTHONPATH=str(broken),
        SOME_API_KEY="topsecretvalue",
    )
    assert "Ray cluster" not in done.stdout
    assert "ftp://me:***@127.0.0.1:1/x" in done.stdout
    assert "file/***" in done.stdout
    for secret in ("hunter2secret", "5f5f5f5f", "topsecretvalue"):
        assert secret not in done.stdout + done.stderr


def test_the_report_tells_failures_first_and_each_mend_once() -> None:
    def broken() -> list[Check]:
        raise RuntimeError("several\nlines")

    output = io.StringIO()
    console = Console(file=output, width=100)
    report = Report()
    checks = [ok("a", "well"), warning("b", "so so", "Do B."), failed("c", "bad", "Do C.")]
    report.section("Some", [*checks, failed("d", "[red]bad", "Do C.")], console)
    report.section("More", guarded("e", "Do E.", broken), console)
    report.print_end(console)
    assert report.mends == ["Do C.", "Do E.", "Do B."]
    assert not report.succeeded
    assert report.checks[-1].detail == "several lines"
    assert "[red]bad" in output.getvalue()
    assert "1 ok, 1 warning, 3 FAILED" in output.getvalue()
    assert [check.name for check in report.having(State.OK)] == ["a"]


def test_warnings_alone_are_no_failure() -> None:
    report = Report([warning("b", "so so", "Do B.")])
    assert report.succeeded


def test_help_names_the_options() -> None:
    done = doctor("--help")
    assert done.returncode == 0
    assert "--storage" in done.stdout
    assert "--no-cluster" in done.stdout
