"""How long would a scan take, and what would it cost? Its scheduler, at work in simulated time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.errors import UserError
from rayxkd.simulation.settings import SimulateSettings

if TYPE_CHECKING:
    from rayxkd.simulation.outcome import Outcome
    from rayxkd.simulation.workload import Workload

__all__ = ["SimulateSettings", "simulate"]


def simulate(settings: SimulateSettings) -> tuple[Outcome, Workload]:
    """Simulate a scan.

    Args:
        settings: teachers, machines and what happens to them.

    Returns:
        What came out, and the teachers with the source of their times.

    Raises:
        UserError: wrong input, or SimPy is not installed.
    """
    try:
        import simpy  # noqa: F401
    except ImportError as error:
        raise UserError("simulate needs SimPy: install rayxkd[simulate]") from error
    from rayxkd.simulation.scenario import run_simulation

    return run_simulation(settings)
