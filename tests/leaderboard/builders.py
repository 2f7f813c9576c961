"""Rows and schemas of leaderboards that no scan had to make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from rayxkd.leaderboard import Assessment, leaderboard_schema
from rayxkd.status import Status

ABOUT = {
    "settings": {"cost": "learned"},
    "probe": "photos/[bold]flowers[/bold] :cat:",
    "probe_images": 512,
    "class_names": ["daisy", "rose"],
}
METRICS = ("leep", "h_score")
SCHEMA: pa.Schema = leaderboard_schema(METRICS, "nats", ABOUT)

# Names that a folder or an object may have, and that are markup, patterns or orders to somebody.
HOSTILE_NAMES = (
    "zoo/[bold]x[/bold]",
    "zoo/a|b",
    "zoo/:cat:",
    "zoo/two\nlines",
    "zoo/\x1b[31mred",
    "zoo/<b>bold</b>",
    'zoo/"quoted", with comma',
    "zoo/back\\slash\\",
    "动物园/ünïcode 🦜",
    "ok",
)


def assessment(
    teacher: str, cost: float | None = None, half_width: float = 0.1, **changes: Any
) -> Assessment:
    """An `ok` row of that cost, or an `invalid` one without."""
    known: dict[str, Any] = {
        "teacher": teacher,
        "repository": "zoo",
        "status": Status.INVALID,
        "reason": "its card has no num_classes",
        "teacher_digest": "t" * 64,
        "probe_digest": "p" * 64,
        "config_digest": "c" * 64,
        "rayxkd_version": "0.1.0",
        "finished_at": datetime(2026, 3, 1, 12, 30, 1, 234567, tzinfo=UTC),
    }
    if cost is not None:
        known |= {
            "status": Status.OK,
            "reason": "",
            "transport_cost": cost,
            "transport_cost_low": cost - half_width,
            "transport_cost_high": cost + half_width,
            "relative_cost": cost / 2,
            "metrics": {"leep": -cost, "h_score": 3.5},
            "num_classes": 1000,
            "parameters": 3_504_872,
        }
    return Assessment(**(known | changes))
