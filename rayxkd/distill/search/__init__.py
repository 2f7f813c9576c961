"""Searching for the best way to teach a student, with Ray Tune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.distill.search.settings import TuneSettings

if TYPE_CHECKING:
    from rich.console import Console

    from rayxkd.distill.search.results import SearchReport

__all__ = ["TuneSettings", "tune"]


def tune(settings: TuneSettings, console: Console | None = None) -> SearchReport:
    """Search for the setting whose student is best on held-back images; write it to ``out``.

    A search that was stopped, however, is continued by the same settings: finished trials are kept,
    the others go on from their last epoch, and no teacher is asked twice.

    Args:
        settings: what to do.
        console: where progress is told; by default standard output.

    Raises:
        UserError: the input is wrong, the output cannot be written, or every trial failed.
    """
    from rayxkd.console import output_console
    from rayxkd.distill.search.run import run_search

    return run_search(settings, console or output_console())
