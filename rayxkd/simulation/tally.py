"""Where the time of workers and machines went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tally:
    """Sums over a simulation, in seconds of workers if nothing else is said.

    Attributes:
        useful: on runs that came to their end.
        cut_off: on runs that a machine took with it.
        crashed: on runs that ended with their process or at their deadline.
        starting: of workers that were not ready yet.
        interruptions: machines that were taken away.
        machine_seconds: from the wish for a machine until its end, of all machines.
    """

    useful: float = 0.0
    cut_off: float = 0.0
    crashed: float = 0.0
    starting: float = 0.0
    interruptions: int = 0
    machine_seconds: float = 0.0
