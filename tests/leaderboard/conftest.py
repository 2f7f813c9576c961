"""A leaderboard that was written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayxkd.leaderboard import Journal, Leaderboard
from rayxkd.status import Status
from rayxkd.storage import Storage
from tests.leaderboard.builders import HOSTILE_NAMES, SCHEMA, assessment


@pytest.fixture(scope="module")
def board_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten teachers with hostile names that are ok, and two that failed."""
    folder = tmp_path_factory.mktemp("board")
    journal = Journal(Storage.at(str(folder)))
    journal.begin({"cost": "learned"})
    rows = [assessment(name, cost=0.5 + place) for place, name in enumerate(HOSTILE_NAMES)]
    reason = "its card says [red]x[/red] :cat:\nand \x1b[2J more"
    rows.append(assessment("zoo/broken", reason=reason))
    rows.append(assessment("zoo/huge", status=Status.OUT_OF_MEMORY, reason="needs 80 GB"))
    journal.write_table(rows, SCHEMA)
    return folder


@pytest.fixture(scope="module")
def board(board_folder: Path) -> Leaderboard:
    return Leaderboard.open(str(board_folder))
