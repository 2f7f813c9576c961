"""Teachers of a simulated scan: how long each keeps a worker, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SimulatedTeacher:
    """One teacher.

    Attributes:
        name: its name.
        weights_bytes: size of the file that is to be fetched, and what the order goes by.
        seconds: what its assessment takes on a machine that is not slow, once the file is there.
        crashes: how often its process ends while it is assessed.
        hangs: it never ends by itself.
        failure: status of its row, where that is not ``ok`` and its process does not end.
    """

    name: str
    weights_bytes: int
    seconds: float
    crashes: int = 0
    hangs: bool = False
    failure: str = ""
