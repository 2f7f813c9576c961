"""How far a scan is: a live bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rayxkd.fleet.telemetry import Snapshot

_LOG_EVERY_SECONDS = 30.0


class Tell(Protocol):
    """Passes on how far a scan is."""

    def __call__(self, now: Snapshot, *, at_once: bool = False) -> None:
        """This is the state; ``at_once`` where it must not be left out."""


class ScanProgress:
    """Counts teachers done and failed, and images per second."""

    def __init__(
        self,
        total: int,
        console: Console,
        tell: Tell | None = None,
        now: Callable[[], float] = time.monotonic,
        what: str = "assessing",
    ) -> None:
        """Show ``what`` is done to ``total`` teachers, and tell whoever else listens."""
        self._console = console
        self._tell = tell
        self._now = now
        self._start = self._logged = now()
        self._state = Snapshot(total)
        self._bar = Progress(
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} teachers"),
            TextColumn("{task.fields[failed]} failed"),
            TextColumn("{task.fields[speed]:.0f} images/s"),
            TextColumn("{task.fields[workers]} worker(s)"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._row = self._bar.add_task("", total=total, failed=0, speed=0.0, workers=0)

    def __enter__(self) -> ScanProgress:
        self._bar.start()
        if self._tell is not None:
            self._tell(self._state, at_once=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if self._tell is not None:
            self._tell(replace(self._state, workers=0), at_once=True)

    def advance(self, *, failed: bool, images: int, workers: int = 1) -> None:
        """One more teacher is finished; so many workers are at work on others."""
        before = self._state
        self._state = now = replace(
            before,
            done=before.done + 1,
            failed=before.failed + failed,
            images=before.images + images,
            seconds=self._now() - self._start,
            workers=workers,
        )
        if self._tell is not None:
            self._tell(now)
        self._bar.update(
            self._row,
            completed=now.done,
            failed=now.failed,
            speed=now.images_per_second,
            workers=workers,
        )
        if self._console.is_terminal or self._now() - self._logged < _LOG_EVERY_SECONDS:
            return
        self._logged = self._now()
        self._console.print(now.line(), highlight=False)


class CardsProgress:
    """Tells how many teacher cards are read, where that takes a while."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        """Nothing is shown before the first cards are read."""
        self._console, self._now, self._logged = console, now, now()
        columns = (TextColumn("reading cards"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(
            *columns, console=console, disable=not console.is_terminal, transient=True
        )
        self._row = self._bar.add_task("", total=None)

    def __enter__(self) -> CardsProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, done: int, total: int) -> None:
        """So many cards of so many are read."""
        self._bar.update(self._row, completed=done, total=total)
        if self._console.is_terminal or self._now() - self._logged < _LOG_EVERY_SECONDS:
            return
        self._logged = self._now()
        self._console.print(f"{done:,} of {total:,} teacher cards read", highlight=False)
