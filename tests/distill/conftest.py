"""The demo's task, its teachers on a leaderboard, and teachers that are made up."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rayxkd.assess import AssessSettings, assess
from rayxkd.distill import DistillSettings, TrainingSettings, distill
from rayxkd.distill.outcome import DistillReport

TEACHERS = ("ten_digits", "low_digits", "shuffled_labels")


@pytest.fixture(scope="session")
def trained_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the demo's teachers, trained once for all tests."""
    from rayxkd.teachers.demo import RECIPES, train_demo_teacher

    folder = tmp_path_factory.mktemp("teachers") / "zoo"
    for recipe in RECIPES:
        if recipe.name in TEACHERS:
            train_demo_teacher(recipe, folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text('{"num_classes": 3, "library_name": "caffe"}')
    return folder


@pytest.fixture(scope="session")
def assessed(trained_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their leaderboard on the demo's task; tests that write beside it use ``board``."""
    out = tmp_path_factory.mktemp("assessed") / "board"
    settings = AssessSettings(repository=(str(trained_zoo),), out=str(out), workers=0)
    report = assess(settings, Console(file=io.StringIO()))
    assert report.statuses["ok"] == 3
    return out


@pytest.fixture
def board(assessed: Path, tmp_path: Path) -> Path:
    """A copy of the leaderboard that a test may change."""
    return Path(shutil.copytree(assessed, tmp_path / "board"))


@pytest.fixture
def run(board: Path, tmp_path: Path) -> Callable[..., DistillReport]:
    """Distil on the demo in this process; keywords change the settings of a very short training.

    ``training`` takes a dictionary of changes.
    """

    def distilled(**changes: Any) -> DistillReport:
        short = TrainingSettings(epochs=2, epoch_images=128, batch_size=32)
        training = replace(short, **changes.pop("training", {}))
        settings: dict[str, Any] = {
            "leaderboard": str(board),
            "out": str(tmp_path / "student"),
            "test": "demo://test",
            "workers": 0,
            "mixtures": 20,
            "training": training,
        }
        console = changes.pop("console", Console(file=io.StringIO()))
        return distill(DistillSettings(**(settings | changes)), console)

    return distilled
