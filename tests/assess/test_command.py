"""The command as a user runs it: exit codes, one line for every mistake, nothing lost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rayxkd.cli import app
from rayxkd.console import run_app
from tests.conftest import REPO


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one good teacher."""
    from rayxkd.teachers.demo import RECIPES, train_demo_teacher

    folder = tmp_path_factory.mktemp("zoo")
    train_demo_teacher(RECIPES[0], folder)
    return folder


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, str(REPO / "jobs" / "assess.py"), *map(str, arguments)]


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def parquet_images(path: Path, labels: list[int], damaged: int = 0) -> Path:
    """Small real PNG files in the layout of the ``datasets`` library."""
    rows = []
    for index in range(len(labels)):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (index % 256, 40, 90)).save(buffer, format="PNG")
        content = buffer.getvalue() if index >= damaged else b"no image"
        rows.append({"bytes": content, "path": None})
    pq.write_table(pa.table({"image": rows, "label": pa.array(labels, pa.int64())}), path)
    return path


def test_a_good_scan_in_this_process(digits: Path, tmp_path: Path) -> None:
    done = run("--repository", digits, "--out", "lb", "--workers", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ten_digits" in done.stdout
    assert "1 assessed" in done.stdout
    again = run("--repository", digits, "--out", "lb", "--workers", "0", cwd=tmp_path)
    assert again.returncode == 0
    assert "0 assessed; 1 unchanged and not assessed again" in again.stdout


def bad_inputs(digits: Path, tmp_path: Path) -> dict[str, tuple[list[str | Path], str]]:
    """Arguments by what is wrong with them, and a part of the line that must say so."""
    empty = tmp_path / "empty"
    empty.mkdir()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    no_label = tmp_path / "no_label.parquet"
    pq.write_table(pa.table({"image": [{"bytes": b"", "path": ""}]}), no_label)
    no_image = tmp_path / "no_image.parquet"
    pq.write_table(pa.table({"label": [0, 1]}), no_image)
    text = tmp_path / "text.parquet"
    text.write_text("no parquet")
    one_class = parquet_images(tmp_path / "one_class.parquet", [0] * 10)
    lonely = parquet_images(tmp_path / "lonely.parquet", [0] * 10 + [1])
    corrupt = parquet_images(tmp_path / "corrupt.parquet", [0, 1] * 20, damaged=4)
    here: list[str | Path] = ["--repository", digits]
    return {
        "no repository": (["--repository", tmp_path / "nowhere"], "there is no repository at"),
        "no teachers": (["--repository", empty], "holds no teacher"),
        "no probe": ([*here, "--probe", tmp_path / "nowhere"], "there is nothing at"),
        "empty probe": ([*here, "--probe", empty], "holds no images"),
        "no label column": ([*here, "--probe", no_label], "has no column 'label'"),
        "no image column": ([*here, "--probe", no_image], "has no column 'image'"),
        "no parquet": ([*here, "--probe", text], "cannot be read as Parquet"),
        "one class": ([*here, "--probe", one_class], "one class only"),
        "one image": ([*here, "--probe", lonely], "class '1' has 1 readable image(s)"),
        "corrupt images": ([*here, "--probe", corrupt], "4 of 40 images cannot be decoded"),
        "unknown cost": ([*here, "--cost", "prototypes"], "did you mean 'prototype'"),
        "unknown metric": ([*here, "--metrics", "leap"], "did you mean 'leep'"),
        "unknown scheme": (["--repository", "s4://bucket"], "did you mean 's3'"),
        "foreign output": ([*here, "--out", foreign], "is no leaderboard of rayxkd"),
        "foreign, fresh": ([*here, "--out", foreign, "--fresh"], "is no leaderboard of rayxkd"),
        "unknown option": ([*here, "--prob", "x"], "--prob"),
        "not a number": ([*here, "--workers", "many"], "many"),
        "no workers": ([*here, "--workers", "-1"], "--workers must be 0"),
        "no GPU share": ([*here, "--gpus-per-worker", "0.7"], "one n-th of a GPU"),
        "no time": ([*here, "--timeout", "soon"], "soon"),
        "too few images": ([*here, "--probe-size", "3"], "use at least 10"),
        "no vectors": ([*here, "--class-vectors", "nobody.npz"], "there is nothing at nobody.npz"),
        "vectors for another cost": (
            [*here, "--class-vectors", text, "--cost", "prototype"],
            "works with --cost learned only",
        ),
        "no reference": ([*here, "--reference", "nobody.npy"], "cannot be read"),
    }


def test_every_mistake_is_one_line(
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for what, (arguments, line) in bad_inputs(digits, tmp_path).items():
        assert run_app(app, ["assess", *map(str, arguments)]) == 1, what
        said = capsys.readouterr()
        assert line in said.err, (what, said.err)
        assert len(said.err.strip().splitlines()) == 1, (what, said.err)
    assert (tmp_path / "foreign" / "thesis.tex").read_text() == "years of work"


def test_a_mistake_ends_the_process_with_one_line(digits: Path, tmp_path: Path) -> None:
    done = run("--repository", digits, "--cost", "prototypes", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean 'prototype'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr + done.stdout


# So many that a scan of them is not over before a slow machine has told it to stop.
MANY = 100


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_finished(tmp_path: Path, digits: Path) -> None:
    import shutil

    zoo = tmp_path / "zoo"
    for number in range(MANY):
        shutil.copytree(digits / "ten_digits", zoo / f"teacher_{number:03}")
    arguments = command("--repository", zoo, "--out", "lb", "--workers", "1")
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment, text=True) as process:
        parts = tmp_path / "lb" / "parts"
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not any(parts.glob("*.parquet")):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finished = pq.read_table(tmp_path / "lb" / "leaderboard.parquet").num_rows
    assert 0 < finished < MANY
    done = run("--repository", zoo, "--out", "lb", "--workers", "0", cwd=tmp_path)
    assert done.returncode == 0
    assert f"{finished} unchanged" in done.stdout
    assert pq.read_table(tmp_path / "lb" / "leaderboard.parquet").num_rows == MANY
