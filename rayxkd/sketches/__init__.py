"""Sketches: what is kept of teachers so that a task finds the best among very many, unloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.sketches.settings import IndexSettings

if TYPE_CHECKING:
    from rich.console import Console

    from rayxkd.sketches.build import IndexReport

__all__ = ["IndexSettings", "index"]


def index(settings: IndexSettings, console: Console | None = None) -> IndexReport:
    """Sketch a repository of teachers.

    Args:
        settings: what to do.
        console: where failures are told; nowhere if ``None``.

    Returns:
        What was done.

    Raises:
        UserError: wrong input, or an index that cannot be written.
    """
    # torch is imported here, so that `--help` and settings come without it.
    from rich.console import Console

    from rayxkd.sketches.build import build_index

    return build_index(settings, console or Console(quiet=True))
