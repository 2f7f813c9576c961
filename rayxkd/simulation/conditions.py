"""What machines, network and driver are like."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """A fleet and what happens to it; times in seconds, sizes in bytes.

    Attributes:
        machines: how many there are at most, and at the start.
        places: workers that fit on one of them.
        boot: from the wish for a machine until it is there.
        start: from a worker's place on a machine until it takes its first teacher.
        detect: from the end of a machine until Ray says that its workers are gone.
        idle: how long a machine without workers stays, and is paid for.
        interruptions: probability that a machine is taken away within an hour; below one.
        slow_share: share of machines that are slow.
        slow_factor: how many times longer they compute.
        latency: until the first byte of a file comes.
        download: bytes a second of one reader.
        store: bytes a second of all readers together.
        driver: what the driver takes for a result before it looks for the next.
        write: until a result is written down.
        writers: how many results are written at a time; the driver waits where all are at work.
    """

    machines: int
    places: int = 1
    boot: float = 0.0
    start: float = 0.0
    detect: float = 0.0
    idle: float = 600.0
    interruptions: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0
    latency: float = 0.0
    download: float = math.inf
    store: float = math.inf
    driver: float = 0.0
    write: float = 0.0
    writers: int = 1

    @property
    def workers(self) -> int:
        """Places of all machines."""
        return self.machines * self.places

    @property
    def losses_per_second(self) -> float:
        """Rate of the exponential distribution of a machine's life."""
        return -math.log1p(-self.interruptions) / 3600.0
