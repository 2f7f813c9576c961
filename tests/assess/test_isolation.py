"""Teachers that misbehave: each costs its own row, and nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rayxkd.assess import AssessSettings, assess
from rayxkd.status import Status
from tests.assess.misbehaviour import EXPECTED, GOOD, build_repository, misbehaving_workers


@pytest.fixture
def repository(trained_digits: Path, tmp_path: Path) -> Path:
    build_repository(sorted(trained_digits.iterdir()), tmp_path / "zoo")
    return tmp_path / "zoo"


@pytest.fixture
def misbehaving(ray_session: Any) -> Iterator[None]:
    with misbehaving_workers():
        yield


@pytest.mark.slow
def test_each_misbehaviour_costs_its_own_row(
    repository: Path, tmp_path: Path, misbehaving: None
) -> None:
    settings = AssessSettings(
        repository=(str(repository),),
        out=str(tmp_path / "board"),
        workers=2,
        trust_code=True,
        timeout=timedelta(seconds=30),
        memory_per_worker=3.0,
    )
    report = assess(settings)

    rows = {row["teacher"].rpartition("/")[2]: row for row in report.leaderboard.table.to_pylist()}
    assert len(rows) == report.leaderboard.table.num_rows == GOOD + len(EXPECTED)
    good = [row for name, row in rows.items() if name.startswith("good")]
    assert {row["status"] for row in good} == {Status.OK}
    assert {row["attempts"] for row in good} == {1}, "the others' faults are not theirs"
    found = {name: (rows[name]["status"], rows[name]["attempts"]) for name in EXPECTED}
    assert found == EXPECTED
    assert "out of bounds" in rows["raises"]["reason"]
    assert "not finite" in rows["not_a_number"]["reason"]
    assert "--timeout 30" in rows["hangs"]["reason"]
    assert "--memory-per-worker" in rows["fills_memory"]["reason"]
    assert "which was refused" in rows["fills_memory"]["reason"]
    assert "Segmentation fault (SIGSEGV), 2 times" in rows["segfaults"]["reason"]
    assert "its process ended while it ran: exit code 3, 2 times" in rows["exits"]["reason"]
