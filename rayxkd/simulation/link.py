"""What files come through: an object store and the network before it."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import simpy


@dataclass(order=True)
class _Reader:
    """One who reads; ``ends_at`` is what every reader has got since the start when it has all."""

    ends_at: float
    number: int
    done: simpy.Event = field(compare=False)
    left: bool = field(default=False, compare=False)


class SharedLink:
    """A link that all who read at a time share alike, each at most as fast as it can.

    Processor sharing by virtual time: all readers have the same rate at any moment, so the one
    that has all its bytes next is the one with the least ``ends_at``.

    Args:
        env: the simulation.
        each: bytes a second of one reader alone.
        together: bytes a second of all of them.
        latency: seconds until the first byte.
    """

    def __init__(
        self, env: simpy.Environment, each: float, together: float, latency: float
    ) -> None:
        self._env = env
        self._each, self._together, self._latency = each, together, latency
        self._readers: list[_Reader] = []
        self._reading = 0
        self._served = self._updated = 0.0
        self._numbers = count()
        self._alarm = 0

    def read(self, size: float) -> Generator[simpy.Event, Any, None]:
        """Read so many bytes; may be interrupted."""
        yield self._env.timeout(self._latency)
        self._catch_up()
        reader = _Reader(self._served + size, next(self._numbers), self._env.event())
        heapq.heappush(self._readers, reader)
        self._reading += 1
        self._set_alarm()
        try:
            yield reader.done
        except simpy.Interrupt:
            if not reader.left:
                self._catch_up()
                self._leave(reader)
                self._set_alarm()
            raise

    @property
    def _rate(self) -> float:
        return min(self._each, self._together / max(1, self._reading))

    def _catch_up(self) -> None:
        now = self._env.now
        if self._reading:
            self._served += self._rate * (now - self._updated)
        self._updated = now

    def _leave(self, reader: _Reader) -> None:
        reader.left = True
        self._reading -= 1

    def _set_alarm(self) -> None:
        """Wake when the next reader has all; alarms that were set before are void."""
        while self._readers and self._readers[0].left:
            heapq.heappop(self._readers)
        self._alarm += 1
        if not self._readers:
            return
        missing = max(0.0, self._readers[0].ends_at - self._served)
        alarm = self._env.timeout(missing / self._rate, self._alarm)
        alarm.callbacks.append(self._ring)

    def _ring(self, alarm: simpy.Event) -> None:
        if alarm.value != self._alarm:
            return
        self._catch_up()
        reader = heapq.heappop(self._readers)
        self._served = max(self._served, reader.ends_at)  # exact, whatever was rounded
        self._leave(reader)
        reader.done.succeed()
        self._set_alarm()
