"""One row of the leaderboard: one teacher on one probe set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from rayxkd.status import Status


@dataclass(frozen=True)
class Assessment:
    """What was found out about one teacher; the columns' meanings stand in ``schema.py``.

    Everything but the first block may be ``None``: a failed teacher has only what was reached.
    """

    teacher: str
    repository: str
    status: Status
    teacher_digest: str
    probe_digest: str
    config_digest: str
    rayxkd_version: str
    finished_at: datetime

    reason: str = ""
    transport_cost: float | None = None
    transport_cost_low: float | None = None
    transport_cost_high: float | None = None
    relative_cost: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    num_classes: int | None = None
    num_features: int | None = None
    parameters: int | None = None
    images_seen: int = 0
    load_seconds: float | None = None
    forward_seconds: float | None = None
    transport_seconds: float | None = None
    metric_seconds: float | None = None
    device: str | None = None
    attempts: int = 1
    license: str | None = None
    temperature: float | None = None
    cost_prior: str | None = None
    weights_bytes: int | None = None
    weights_version: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the teacher was assessed."""
        return self.status is Status.OK

    def as_row(self) -> dict[str, Any]:
        """Column name to value; metrics are columns of their own."""
        row: dict[str, Any] = asdict(self)
        row["status"] = str(self.status)
        metrics: dict[str, float] = row.pop("metrics")
        return row | metrics

    @classmethod
    def from_row(cls, row: Mapping[str, Any], metrics: tuple[str, ...]) -> Assessment:
        """The inverse of :meth:`as_row`; columns that are not of an assessment are left out."""
        known = {entry.name for entry in fields(cls)} - {"metrics", "status"}
        values = {name: value for name, value in row.items() if name in known}
        found = {name: row[name] for name in metrics if row.get(name) is not None}
        return cls(status=Status(row["status"]), metrics=found, **values)
