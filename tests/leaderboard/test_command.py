"""`python -m rayxkd.leaderboard show`, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from rayxkd.console import run_app
from rayxkd.leaderboard.commands import app
from tests.leaderboard.builders import HOSTILE_NAMES


def command(*arguments, **environment) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "rayxkd.leaderboard", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        env=plain | environment,
    )


def test_show_prints_the_table(board_folder):
    done = command("show", board_folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "512 images of 2 classes" in lines[0]
    assert lines[1].split()[:2] == ["rank", "teacher"]
    assert "zoo/[bold]x[/bold]" in lines[2]
    assert "zoo/huge: needs 80 GB" in lines
    assert "\x1b" not in done.stdout


def test_top_and_status_choose_rows(board_folder):
    done = command("show", board_folder, "--format", "json", "--status", "ok", "--top", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["teacher"] for row in json.loads(done.stdout)] == list(HOSTILE_NAMES[:2])


@pytest.mark.parametrize("options", [["--format", "json"], ["--status", "ok"]])
def test_show_does_without_libraries_that_are_slow_to_import(board_folder, options):
    done = command("show", board_folder, *options, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "pyarrow" in imported
    assert imported.isdisjoint({"pandas", "torch", "ray", "matplotlib", "duckdb", "sklearn"})


def test_a_mistake_is_one_line_without_a_traceback(tmp_path):
    done = command("show", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: there is no leaderboard at {tmp_path}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "memory://nothing"], "there is no leaderboard at memory://nothing"),
        (["show", "{folder}", "--status", "okay"], "unknown status 'okay': did you mean 'ok'"),
        (
            ["show", "{folder}", "--format", "xml"],
            'Invalid value "xml" for --format. Choose from: ',
        ),
        (["show", "{folder}", "--top", "many"], "Invalid value for --top"),
        (["show", "{folder}", "--tpo", "3"], "Unknown option: --tpo. Did you mean --top?"),
        (["shwo", "{folder}"], 'Did you mean "show"?'),
        (["show"], "requires an argument"),
    ],
)
def test_every_mistake_says_what_would_be_right(arguments, message, board_folder, capsys):
    code = run_app(app, [argument.format(folder=board_folder) for argument in arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("form", "unbuffered"), [("table", ""), ("json", ""), ("json", "1")])
def test_a_reader_that_goes_away_is_no_error(form, unbuffered, board_folder):
    """As `| head` does."""
    with subprocess.Popen(
        [sys.executable, "-m", "rayxkd.leaderboard", "show", str(board_folder), "--format", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        process.stdout.close()
        complaint = process.stderr.read()
        process.wait(timeout=60)
    assert (process.returncode, complaint) == (0, b"")
