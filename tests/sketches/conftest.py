"""A small repository of real teachers (digits), and indexes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rayxkd.sketches import IndexSettings, index
from rayxkd.sketches.build import IndexReport

Index = Callable[..., IndexReport]


@pytest.fixture
def zoo(trained_digits: Path, tmp_path: Path) -> Path:
    """A copy of the trained teachers that a test may change."""
    return Path(shutil.copytree(trained_digits, tmp_path / "zoo"))


@pytest.fixture
def make_index(zoo: Path, tmp_path: Path) -> Index:
    """Sketch the zoo on scans that are none of the demo's task; keywords change the settings."""

    def run(console: Console | None = None, **changes: Any) -> IndexReport:
        settings = {
            "repository": (str(zoo),),
            "reference": ("demo://test",),
            "out": str(tmp_path / "index"),
            "workers": 0,
        }
        return index(IndexSettings(**(settings | changes)), console)

    return run
