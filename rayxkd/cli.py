"""The ``rayxkd`` command; ``jobs/*.py`` run the same functions."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.text import Text

import rayxkd
from rayxkd.assess.settings import AssessSettings
from rayxkd.console import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    output_console,
    run_app,
    write_output,
)
from rayxkd.describing import CardSettings
from rayxkd.distill.search.settings import TuneSettings
from rayxkd.distill.settings import DistillSettings
from rayxkd.doctor.settings import DoctorSettings
from rayxkd.errors import UserError
from rayxkd.leaderboard import print_table
from rayxkd.leaderboard.commands import app as leaderboard_app
from rayxkd.simulation.settings import SimulateSettings
from rayxkd.sketches import IndexSettings
from rayxkd.study.commands import app as study_app

if TYPE_CHECKING:
    from rayxkd.distill.outcome import DistillReport

_SHOWN_ROWS = 20
_DEFAULTS = AssessSettings()
_DISTILL_DEFAULTS = DistillSettings()
_TUNE_DEFAULTS = TuneSettings()
_CARD_DEFAULTS = CardSettings()
_DOCTOR_DEFAULTS = DoctorSettings()
_SIMULATE_DEFAULTS = SimulateSettings()

app = App(
    name="rayxkd",
    help="Find the pretrained classifier that teaches your task best, without training a student.",
    version=rayxkd.__version__,
    default_parameter=Parameter(consume_multiple=True, negative=()),
)
app.command(leaderboard_app)
app.command(study_app)


@app.command
def assess(settings: Annotated[AssessSettings, Parameter(name="*")] = _DEFAULTS) -> int:
    """Rank a repository of teachers by the transport cost of their predictions on a probe set.

    Without options the demo's teachers are ranked on the demo's task.
    """
    from rayxkd.assess import assess as run_scan

    console = output_console()
    report = run_scan(settings, console)
    board = report.leaderboard
    print_table(board, console, top=_SHOWN_ROWS)
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
    if report.race is not None:
        from rayxkd.assess.racing.scan import summary as race_summary

        console.print(Text(race_summary(report.race)), soft_wrap=True)
    console.print(Text(f"leaderboard: {board.url}"), soft_wrap=True)
    if report.interrupted:
        console.print(Text("interrupted: run the same again to go on"), soft_wrap=True)
        return EXIT_INTERRUPTED
    if not report.succeeded:
        raise UserError(f"no teacher could be assessed: {_why_not(failed)}")
    return EXIT_OK


def _why_not(failed: dict[str, int]) -> str:
    counted = ", ".join(f"{count} {status}" for status, count in sorted(failed.items()))
    return f"{counted}; the reasons are above" if failed else "the scan was stopped before any"


@app.command
def index(settings: Annotated[IndexSettings, Parameter(name="*")]) -> int:
    """Sketch the teachers of a repository, once, so that assess --shortlist loads the best alone.

    Teachers that are in the index and unchanged are not asked again.
    """
    from rayxkd.sketches import index as build

    console = output_console()
    report = build(settings, console)
    where = f" in {report.seconds:.1f} s on {report.workers} worker(s)" if report.workers else ""
    failed = f"; {report.failed} cannot be asked, as is told above" if report.failed else ""
    left = f"; {report.left} not begun or not finished" if report.left else ""
    console.print(
        Text(
            f"{report.made} teachers sketched{where}; {report.reused} unchanged "
            f"and not asked again{failed}{left}"
        ),
        soft_wrap=True,
    )
    console.print(Text(f"index: {report.url}"), soft_wrap=True)
    if report.interrupted:
        console.print(Text("interrupted: run the same again to go on"), soft_wrap=True)
        return EXIT_INTERRUPTED
    if not report.made + report.reused:
        raise UserError("no teacher could be sketched: the reasons are above")
    return EXIT_OK


@app.command
def distill(settings: Annotated[DistillSettings, Parameter(name="*")] = _DISTILL_DEFAULTS) -> int:
    """Train a student of your classes from the teachers of a leaderboard.

    Without options the demo's best teacher teaches the demo's task, after an assessment.
    """
    from rayxkd.distill import distill as run_distillation

    console = output_console()
    report = run_distillation(settings, console)
    console.print(Text(_student_line(report)), soft_wrap=True)
    console.print(Text(f"student: {report.url}"), soft_wrap=True)
    return EXIT_OK


def _student_line(report: DistillReport) -> str:
    """What came of it, in a line."""
    trained = f"{report.epochs} epoch(s) trained in {report.seconds:.1f} s"
    if not report.epochs:
        trained = "nothing was left to train"
    if report.test is None:
        return f"{trained}; give --test to learn its accuracy"
    low, high = report.test.interval
    parts = [
        f"accuracy on {report.test.images} test images: {report.test.accuracy:.1%} "
        f"[{low:.1%}, {high:.1%}]"
    ]
    if report.compared is not None:
        plain = report.compared.accuracy
        gain = 100 * (report.test.accuracy - plain)
        parts.append(f"cross-entropy alone: {plain:.1%} (a gain of {gain:+.1f} points)")
    return "; ".join([*parts, trained])


@app.command
def tune(settings: Annotated[TuneSettings, Parameter(name="*")] = _TUNE_DEFAULTS) -> int:
    """Search for the setting whose student is best on images held back from the labelled ones.

    The same command goes on with a search that was stopped.
    """
    from rayxkd.distill.search import tune as run_search
    from rayxkd.distill.search.results import next_command, summary

    console = output_console()
    report = run_search(settings, console)
    board = report.leaderboard
    print_table(board, console, top=_SHOWN_ROWS)
    if report.interrupted:
        console.print(Text("interrupted: run the same again to go on"), soft_wrap=True)
        return EXIT_INTERRUPTED
    console.print(Text(summary(report)), soft_wrap=True)
    if report.best is not None:
        console.print(Text(next_command(settings, board.url)), soft_wrap=True)
    return EXIT_OK


@app.command
def card(
    *files: str,
    settings: Annotated[CardSettings, Parameter(name="*")] = _CARD_DEFAULTS,
) -> int:
    """Write teacher cards for bare weights files: what can be seen in a file need not be told.

    The architecture is looked for in the libraries by the names and shapes of the tensors, first
    those that the file's name speaks of; each teacher is loaded once before its card stays.
    """
    from rayxkd.describing.describe import describe
    from rayxkd.describing.progress import SearchProgress

    if not files:
        raise UserError("rayxkd card needs at least one weights file")
    console = output_console()
    for file in files:
        with SearchProgress(file) as progress:
            described = describe(file, settings, progress.tell)
        said = described.entries
        line = f"{described.card}: {said.get('architecture', 'a program')}"
        console.print(Text(f"{line}, {said['num_classes']} classes"), soft_wrap=True)
        for note in described.notes:
            console.print(Text(f"  {note}"), soft_wrap=True)
    return EXIT_OK


@app.command
def doctor(settings: Annotated[DoctorSettings, Parameter(name="*")] = _DOCTOR_DEFAULTS) -> int:
    """Check this machine, the Ray cluster with all its nodes, and storage, and say what to mend."""
    from rayxkd.doctor import examine

    report = examine(settings, output_console())
    return EXIT_OK if report.succeeded else EXIT_FAILED


@app.command
def simulate(
    settings: Annotated[SimulateSettings, Parameter(name="*")] = _SIMULATE_DEFAULTS,
    *,
    format: Literal["table", "json"] = "table",
) -> int:
    """Say how long a scan would take on a fleet, and what it would cost, without running it.

    The scheduler of a scan works in simulated time on times that a scan measured. --format json
    gives seconds, hours and shares for programs.
    """
    from rayxkd.simulation import simulate as run_simulation
    from rayxkd.simulation.report import print_outcome

    outcome, workload = run_simulation(settings)
    if format == "json":
        content = outcome.as_dict() | {"source": workload.source}
        write_output(json.dumps(content, indent=2) + "\n")
    else:
        print_outcome(outcome, workload.source, settings, output_console())
    return EXIT_OK


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    sys.exit(run_app(app, arguments))


if __name__ == "__main__":
    main()
