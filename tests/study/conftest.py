"""A zoo of small teachers of the demo's digits, trained once, and a study of them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from rayxkd.distill import TrainingSettings
from rayxkd.study import StudySettings, ZooSettings, study
from rayxkd.study.run import StudyReport
from rayxkd.study.zoo import Recipe, build_zoo

# Teachers learn from some of the demo's scans, tasks have the others: they share no image.
TEACHERS_IMAGES = "demo://test#per_class=15"
TASK, TEST = "demo://#classes=five,six,seven", "demo://test#classes=five,six,seven&per_class=15:"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def zoo_settings(out: Path, **changes: object) -> ZooSettings:
    settings: dict[str, object] = {
        "data": TEACHERS_IMAGES,
        "test": "demo://test#per_class=15:",
        "targets": (TASK,),
        "out": str(out),
        "teachers": 4,
        "classes": (3, 4),
        "networks": ("small_resnet8",),
        "widths": (4, 8),
        "epochs": (2, 30),
        "workers": 0,
    }
    return ZooSettings(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Recipe]]:
    out = tmp_path_factory.mktemp("study") / "zoo"
    return out, build_zoo(zoo_settings(out), quiet())


def study_settings(zoo: Path, out: Path, **changes: object) -> StudySettings:
    settings: dict[str, object] = {
        "repository": (str(zoo),),
        "data": (TASK, "demo://#classes=eight,nine"),
        "test": (TEST, "demo://test#classes=eight,nine&per_class=15:"),
        "names": ("first", "second"),
        "out": str(out),
        "labelled": 10,
        "unlabelled": 10,
        "seeds": 2,
        "students_on": ("first",),
        "chosen_on": ("second",),
        "metrics": ("learned", "cooccurrence", "leep", "parameters"),
        "training": TrainingSettings(epochs=1, epoch_images=64),
        "workers": 0,
    }
    return StudySettings(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def finished(
    zoo: tuple[Path, list[Recipe]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, StudyReport]:
    out = tmp_path_factory.mktemp("studied") / "study"
    return out, study(study_settings(zoo[0], out), quiet())
