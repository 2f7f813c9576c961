"""Training a student from teachers whose classes are not the task's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.distill.settings import DistillSettings, TrainingSettings, TransportSettings

if TYPE_CHECKING:
    from rich.console import Console

    from rayxkd.distill.outcome import DistillReport

__all__ = ["DistillSettings", "TrainingSettings", "TransportSettings", "distill"]


def distill(settings: DistillSettings, console: Console | None = None) -> DistillReport:
    """Train a student from the teachers of a leaderboard and write it to ``settings.out``.

    A run that was stopped is continued by the same settings: nothing is asked of a teacher again,
    and nothing is repeated but the epoch in which it was stopped.

    Args:
        settings: what to do.
        console: where progress is told; by default standard output.

    Raises:
        UserError: the input is wrong, or the output cannot be written.
    """
    from rayxkd.console import output_console
    from rayxkd.distill.run import run_distillation

    return run_distillation(settings, console or output_console())
