"""The ``rayxkd`` command; ``jobs/*.py`` run the same functions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

import rayxkd
from rayxkd.assess.settings import AssessSettings
from rayxkd.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, output_console, run_app
from rayxkd.leaderboard import print_table, select
from rayxkd.leaderboard.commands import app as leaderboard_app

_SHOWN_ROWS = 20
_DEFAULTS = AssessSettings()

app = App(
    name="rayxkd",
    help="Find the pretrained classifier that teaches your task best, without training a student.",
    version=rayxkd.__version__,
    default_parameter=Parameter(consume_multiple=True, negative=()),
)
app.command(leaderboard_app)


@app.command
def assess(settings: Annotated[AssessSettings, Parameter(name="*")] = _DEFAULTS) -> int:
    """Rank a repository of teachers by the transport cost of their predictions on a probe set.

    Without options the demo's teachers are ranked on the demo's task.
    """
    from rayxkd.assess import assess as run_scan

    console = output_console()
    report = run_scan(settings, console)
    board = report.leaderboard
    print_table(select(board, top=_SHOWN_ROWS), console)
    failed = {status: count for status, count in report.statuses.items() if status != "ok"}
    parts = [
        f"{report.assessed} assessed",
        f"{report.reused} unchanged and not assessed again" if report.reused else "",
        ", ".join(f"{count} {status}" for status, count in sorted(failed.items())),
        f"{report.left} not begun or not finished: run the same again to go on"
        if report.left
        else "",
    ]
    summary = "; ".join(part for part in parts if part)
    if report.assessed:
        summary += f"; {report.seconds:.1f} s on {report.workers} worker(s)"
    console.print(Text(summary), soft_wrap=True)
    console.print(Text(f"leaderboard: {board.url}"), soft_wrap=True)
    if report.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OK if report.succeeded else EXIT_FAILED


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    sys.exit(run_app(app, arguments))


if __name__ == "__main__":
    main()
