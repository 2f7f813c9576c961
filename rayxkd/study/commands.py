"""``rayxkd study``: does the ranking hold on your teachers?"""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from rayxkd.console import EXIT_OK, output_console
from rayxkd.secrets import without_secrets
from rayxkd.study.settings import StudySettings, ZooSettings

app = App(
    name="study",
    help="Find out whether the ranking holds: train a student from every teacher, and compare.",
    default_parameter=Parameter(consume_multiple=True, negative=()),
)


@app.default
def study(settings: Annotated[StudySettings, Parameter(name="*")]) -> int:
    """Score every teacher by every metric, find out how good it really is, and compare.

    The same command goes on with a study that was stopped. See also: rayxkd study zoo --help.
    """
    from rayxkd.study import study as run_study
    from rayxkd.study.show import print_reports

    console = output_console()
    report = run_study(settings, console)
    print_reports(report.truths, console)
    console.print(Text(f"study: {report.url} (report.html)"), soft_wrap=True)
    return EXIT_OK


@app.command
def zoo(settings: Annotated[ZooSettings, Parameter(name="*")]) -> int:
    """Train a zoo of small teachers that differ in what they know and in how well they know it.

    The same command goes on with a zoo that was stopped.
    """
    from rayxkd.study.zoo import build_zoo

    console = output_console()
    made = build_zoo(settings, console)
    console.print(Text(f"{len(made)} teachers: {without_secrets(settings.out)}"), soft_wrap=True)
    return EXIT_OK
