"""How far work is, for whoever watches the cluster: metrics of the dashboard and the job's note."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayxkd.fleet.job import JobNote

_METRICS = {
    "rayxkd_teachers_done": "Teachers of this scan that have a row, failed ones too",
    "rayxkd_teachers_failed": "Teachers of this scan that failed",
    "rayxkd_teachers_queued": "Teachers of this scan that no worker has taken yet",
    "rayxkd_workers": "Workers at work",
    "rayxkd_images_per_second": "Images through teachers since the scan began, per second",
}


@dataclass(frozen=True)
class Snapshot:
    """A scan at one moment.

    Attributes:
        total: teachers in all.
        done: those that have a row now.
        failed: those of them that failed.
        images: how many went through teachers.
        seconds: since it began.
        workers: at work.
    """

    total: int
    done: int = 0
    failed: int = 0
    images: int = 0
    seconds: float = 0.0
    workers: int = 0

    @property
    def images_per_second(self) -> float:
        """In the mean since it began."""
        return self.images / max(1e-9, self.seconds)

    @property
    def seconds_left(self) -> float | None:
        """If it goes on as before; unknown before the first is done."""
        return self.seconds / self.done * (self.total - self.done) if self.done else None

    def line(self) -> str:
        """For a log."""
        parts = [
            f"{self.done}/{self.total} teachers",
            f"{self.failed} failed",
            f"{self.images_per_second:.0f} images/s",
            f"{self.workers} worker(s)",
        ]
        if self.seconds_left is not None:
            parts.append(f"about {self.seconds_left:.0f} s left")
        return ", ".join(parts)


class Telemetry:
    """Tells Ray how far a scan is.

    Metrics reach Prometheus, and so the dashboard's pictures, through the agents of Ray's nodes.
    """

    def __init__(self, leaderboard: str) -> None:
        """Report on the scan that writes to this address; Ray must be connected."""
        from ray.util.metrics import Gauge

        self._gauges: dict[str, Any] = {}
        for name, about in _METRICS.items():
            gauge = Gauge(name, about, tag_keys=("leaderboard",))
            gauge.set_default_tags({"leaderboard": leaderboard})
            self._gauges[name] = gauge
        self._note = JobNote.of_this_job()

    def tell(self, now: Snapshot, *, at_once: bool = False) -> None:
        """Report this moment."""
        values = (
            now.done,
            now.failed,
            max(0, now.total - now.done - now.workers),
            now.workers,
            now.images_per_second,
        )
        for gauge, value in zip(self._gauges.values(), values, strict=True):
            gauge.set(value)
        if self._note is not None:
            counts = {"done": now.done, "failed": now.failed, "total": now.total}
            metadata = {f"rayxkd_{name}": str(count) for name, count in counts.items()}
            self._note.tell(now.line(), metadata, at_once=at_once)
