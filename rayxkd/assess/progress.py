"""How far a scan is: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LOG_EVERY_SECONDS = 30.0


class ScanProgress:
    """Counts teachers done and failed, and images per second."""

    def __init__(
        self, total: int, console: Console, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Show a scan of ``total`` teachers on ``console``."""
        self._console = console
        self._now = now
        self._start = self._logged = now()
        self._total, self._done, self._failed, self._images = total, 0, 0, 0
        self._bar = Progress(
            TextColumn("assessing"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} teachers"),
            TextColumn("{task.fields[failed]} failed"),
            TextColumn("{task.fields[speed]:.0f} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._row = self._bar.add_task("", total=total, failed=0, speed=0.0)

    def __enter__(self) -> ScanProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, *, failed: bool, images: int) -> None:
        """One more teacher is finished."""
        self._done += 1
        self._failed += failed
        self._images += images
        elapsed = max(1e-9, self._now() - self._start)
        speed = self._images / elapsed
        self._bar.update(self._row, completed=self._done, failed=self._failed, speed=speed)
        if self._console.is_terminal or self._now() - self._logged < _LOG_EVERY_SECONDS:
            return
        self._logged = self._now()
        left = elapsed / self._done * (self._total - self._done)
        self._console.print(
            f"{self._done}/{self._total} teachers, {self._failed} failed, {speed:.0f} images/s, "
            f"about {left:.0f} s left",
            highlight=False,
        )
