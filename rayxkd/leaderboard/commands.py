"""The commands of ``python -m rayxkd.leaderboard``."""

from __future__ import annotations

import sys
from typing import Literal

from cyclopts import App

from rayxkd.console import output_console
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.render import print_table, render, select

app = App(name="leaderboard", help="Read a leaderboard.", version_flags=[])


@app.command
def show(
    url: str,
    *,
    format: Literal["table", "json", "csv", "markdown"] = "table",
    top: int | None = None,
    status: str | None = None,
) -> None:
    """Print a leaderboard.

    Parameters
    ----------
    url
        Directory or URL that a scan wrote.
    format
        For people, or for programs.
    top
        Only the first rows.
    status
        Only rows of this status, such as ok or invalid.
    """
    board = select(Leaderboard.open(url), top=top, status=status)
    if format == "table":
        print_table(board, output_console())
    else:
        sys.stdout.write(render(board, format))
