"""``jobs/study.py`` as a user runs it, and a study on Ray."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rayxkd.study import study
from rayxkd.study.zoo import Recipe, build_zoo
from tests.conftest import REPO
from tests.study.conftest import TASK, TEACHERS_IMAGES, TEST, quiet, study_settings, zoo_settings


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPO / "jobs" / "study.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_zoo_and_its_study(tmp_path: Path) -> None:
    zoo, out = str(tmp_path / "zoo"), str(tmp_path / "study")
    lists = {"classes": "3", "networks": "small_resnet8", "widths": "4", "epochs": "1"}
    options = [part for name, value in lists.items() for part in (f"--{name}", value)]
    made = run(
        *("zoo", "--data", TEACHERS_IMAGES, "--out", zoo, "--teachers", "2", "--workers", "0"),
        *options,
    )
    assert made.returncode == 0, made.stderr
    assert f"2 teachers: {zoo}" in made.stdout
    done = run(
        *("--repository", zoo, "--data", TASK, "--test", TEST, "--out", out, "--workers", "0"),
        *("--seeds", "1", "--labelled", "5", "--training.epochs", "1", "--unlabelled", "5"),
        *("--training.epoch-images", "64", "--metrics", "learned", "leep"),
    )
    assert done.returncode == 0, done.stderr
    assert (
        "against linear probe accuracy: 2 teachers, 1 task(s) not used for choosing" in done.stdout
    )
    assert "students: 2/2" in done.stdout
    assert f"study: {out}" in done.stdout
    assert pq.read_table(f"{out}/agreement.parquet").num_rows


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    done = run("--repository", missing, "--data", TASK, "--test", TEST, "--labelled", "5")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "there is no repository at" in done.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_on_ray_it_is_the_same(zoo: tuple[Path, list[Recipe]], tmp_path: Path) -> None:
    made = build_zoo(zoo_settings(tmp_path / "zoo", workers=2), quiet())
    for recipe in made:
        name = f"{recipe.name}/model.safetensors"
        assert (tmp_path / "zoo" / name).read_bytes() == (zoo[0] / name).read_bytes()
    settings = study_settings(zoo[0], tmp_path / "here")
    here = study(settings, quiet()).results
    there = study(replace(settings, out=str(tmp_path / "there"), workers=2), quiet()).results
    assert rows(here.scores, "score") == pytest.approx(rows(there.scores, "score"), abs=1e-9)
    assert rows(here.truth, "accuracy") == rows(there.truth, "accuracy")


def rows(table: Any, value: str) -> dict[Any, float]:
    keys = [
        name for name in ("teacher", "task", "seed", "ranker", "kind") if name in table.column_names
    ]
    return {tuple(row[key] for key in keys): row[value] for row in table.to_pylist()}
