"""Leaderboards as a scan leaves them: claim, journal and table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rayxkd.leaderboard import Assessment, Journal, Leaderboard, leaderboard_schema
from rayxkd.leaderboard.schema import parquet_of
from rayxkd.leaderboard.search import TrialRow, TrialStatus, search_table
from rayxkd.storage import Storage
from tests.leaderboard.builders import ABOUT, METRICS, assessment

SETTINGS = {"probe": "photos", "cost": "learned", "metrics": list(METRICS), "seed": 0}

# Names that are markup, orders or formulas to somebody who writes or reads an export.
NASTY_NAMES = (
    "zoo/<script>alert('x')</script>",
    "zoo/[bold]x[/bold] :cat:",
    "zoo/50% & #1_best ~{x}^2$y$ \\input{/etc/passwd}",
    "zoo/--two``quotes''\"<<>>",
    "[zoo] *first*",
    "zoo/a|b`c`",
    "zoo/two\nlines\tand\x1b[31mred",
    "动物园/ünïcode 🦜",
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def row(teacher: str, cost: float | None = None, *, minutes: int = 0, **changes: Any) -> Assessment:
    """As :func:`assessment`, with digests that are some; finished so long after the first."""
    known: dict[str, Any] = {
        "probe_digest": sha("photos"),
        "config_digest": sha("learned"),
        "teacher_digest": sha(teacher),
        "finished_at": datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(minutes=minutes),
    }
    return assessment(teacher, cost, **(known | changes))


def write_board(
    folder: Path, *rows: Assessment, settings: Mapping[str, Any] = SETTINGS, **about: Any
) -> str:
    """Write a whole leaderboard and return its address."""
    schema = leaderboard_schema(METRICS, "nats", {**ABOUT, "settings": dict(settings), **about})
    journal = Journal(Storage.at(str(folder)))
    journal.begin(settings)
    for one in rows:
        journal.write_part(one, schema)
    journal.write_table(rows, schema)
    return str(folder)


def write_search(folder: Path) -> str:
    """Write the leaderboard of a search and return its address."""
    trials = [
        TrialRow(
            trial=number,
            default=not number,
            status=TrialStatus.OK,
            cost="learned",
            form="expected",
            epsilon=1.0,
            weight=1.0,
            learning_rate=0.1,
            rank=number + 1,
            accuracy=0.9 - number / 10,
            accuracy_low=0.8 - number / 10,
            accuracy_high=0.95 - number / 10,
        )
        for number in range(2)
    ]
    about = {"data": "photos", "validation_images": 9, "teachers": ["zoo/a"]}
    about |= {"views_asked": 1, "views_known": 0}
    folder.mkdir()
    table = search_table(trials, about)
    (folder / "leaderboard.parquet").write_bytes(parquet_of(table))
    return str(folder)


def teachers(address: str) -> list[str]:
    return Leaderboard.open(address).table["teacher"].to_pylist()


def claim(folder: Path) -> Any:
    return json.loads((folder / "scan.json").read_text())
