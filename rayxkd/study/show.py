"""What a study found, for a terminal and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rayxkd.study.analysis import RankerReport, TruthReport
from rayxkd.study.intervals import Interval

# Statistic, heading, decimals.
_COLUMNS = (
    ("weighted_tau", "weighted tau [95 % interval]", 2),
    ("spearman", "Spearman", 2),
    ("pearson", "Pearson", 2),
    ("regret_1", "regret of 1", 1),
    ("regret_3", "of 3", 1),
    ("recall_1", "recall of 1", 2),
    ("recall_3", "of 3", 2),
    ("recall_5", "of 5", 2),
)
HEADINGS = ("score", "group", *(heading for _, heading, _ in _COLUMNS), "p", "time")


def heading(report: TruthReport) -> str:
    """What a table is about, in a line."""
    tasks = ", ".join(task.task for task in report.tasks)
    parts = [
        f"against {report.kind} accuracy: {len(report.teachers)} teachers, {len(report.tasks)} "
        f"task(s) {'that served for choosing' if report.chosen else 'not used for choosing'} "
        f"({tasks})"
    ]
    if report.reliability is not None and report.ceiling is not None:
        parts.append(
            f"reliability of the truth {report.reliability:.2f}, the weighted tau that it allows "
            f"{report.ceiling:.2f}"
        )
    return "; ".join(parts)


def cells(ranker: RankerReport) -> list[str]:
    """A row of the table."""
    found = [
        _with_interval(ranker.statistics[name], decimals)
        if name == _COLUMNS[0][0]
        else f"{ranker.statistics[name].mean:.{decimals}f}"
        for name, _, decimals in _COLUMNS
    ]
    p_value = f"{ranker.against_default.p_value:.3f}"
    return [ranker.name, ranker.group, *found, p_value, f"{ranker.share_of_forward:.2g}"]


def print_reports(reports: list[TruthReport], console: Console) -> None:
    """Print a table for each truth."""
    for report in reports:
        console.print(Text(heading(report)), soft_wrap=True)
        table = Table(box=None, padding=(0, 1, 0, 0))
        for number, name in enumerate(HEADINGS):
            table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
        for ranker in report.rankers:
            table.add_row(*map(Text, cells(ranker)))
        console.print(table)
    console.print(
        "regret: accuracy points lost by taking the best of the first one or three; p: of the "
        "difference to the default; time: over that of the teacher's forward pass",
        soft_wrap=True,
    )


def markdown(reports: list[TruthReport]) -> Iterator[str]:
    """The same as Markdown, line by line."""
    for report in reports:
        yield f"**{heading(report)}**"
        yield ""
        yield f"| {' | '.join(HEADINGS)} |"
        yield "|---" * len(HEADINGS) + "|"
        for ranker in report.rankers:
            yield f"| {' | '.join(cells(ranker))} |"
        yield ""


def _with_interval(interval: Interval, decimals: int) -> str:
    if math.isnan(interval.low):  # of a single value
        return f"{interval.mean:.{decimals}f}"
    low, high = f"{interval.low:.{decimals}f}", f"{interval.high:.{decimals}f}"
    return f"{interval.mean:.{decimals}f} [{low}, {high}]"
