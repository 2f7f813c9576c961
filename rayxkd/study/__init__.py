"""Does the ranking hold? Ground truth by distilling from every teacher, and correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.study.settings import StudySettings, ZooSettings

if TYPE_CHECKING:
    from rich.console import Console

    from rayxkd.study.run import StudyReport

__all__ = ["StudySettings", "ZooSettings", "study"]


def study(settings: StudySettings, console: Console | None = None) -> StudyReport:
    """Score every teacher by every metric, find out how good it really is, and compare.

    A study that was stopped is continued by the same settings; tasks, seeds, teachers and metrics
    may be added to it.

    Args:
        settings: what to find out.
        console: where progress is told; by default standard output.

    Raises:
        UserError: the input is wrong, or the output cannot be written.
    """
    from rayxkd.console import output_console
    from rayxkd.study.run import run_study

    return run_study(settings, console or output_console())
