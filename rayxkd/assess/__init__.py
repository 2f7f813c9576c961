"""The scan: every teacher of a repository assessed on a probe set, in parallel, on Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.assess.settings import AssessSettings

if TYPE_CHECKING:
    from rich.console import Console

    from rayxkd.assess.scan import ScanReport

__all__ = ["AssessSettings", "assess"]


def assess(settings: AssessSettings, console: Console | None = None) -> ScanReport:
    """Assess a repository of teachers on a probe set.

    Args:
        settings: what to do.
        console: where progress is shown; nowhere if ``None``.

    Returns:
        What was done, with the finished leaderboard.

    Raises:
        UserError: wrong input, before any teacher is begun; or an output that cannot be written.
    """
    # torch is imported here, so that `--help` and settings come without it.
    from rich.console import Console

    from rayxkd.assess.scan import run_scan

    return run_scan(settings, console or Console(quiet=True))
