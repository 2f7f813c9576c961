"""A small repository of real teachers (digits), and scans of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.scan import ScanReport


@pytest.fixture
def zoo(trained_digits: Path, tmp_path: Path) -> Path:
    """A copy of the trained teachers that a test may change."""
    return Path(shutil.copytree(trained_digits, tmp_path / "zoo"))


@pytest.fixture
def scan(ray_session: Any, zoo: Path, tmp_path: Path) -> Callable[..., ScanReport]:
    """Scan the zoo on the demo's task; keywords change the settings.

    Most tests are about what a scan decides and run in this process; ``workers`` takes it to Ray.
    """

    def run(**changes: Any) -> ScanReport:
        settings = {"repository": (str(zoo),), "out": str(tmp_path / "board"), "workers": 0}
        return assess(AssessSettings(**(settings | changes)))

    return run
