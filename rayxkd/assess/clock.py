"""Wall-clock seconds by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Measures steps.

    Attributes:
        seconds: that each took.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure what is done within."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self._now() - start
