"""What a study found, as one page that can be mailed around.

The page is a single file that fetches nothing and runs no script; :mod:`rayxkd.page` holds what
it shares with other pages.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import rayxkd
from rayxkd.page import environment, fixed
from rayxkd.secrets import recordable
from rayxkd.study.analysis import TruthReport
from rayxkd.study.figures import Kinship
from rayxkd.study.intervals import Interval
from rayxkd.study.results import Results
from rayxkd.study.settings import StudySettings
from rayxkd.study.show import HEADINGS
from rayxkd.study.views import Times, TruthView, failures, reliability_rows, teacher_rows


def report_html(
    reports: Sequence[TruthReport], results: Results, about: Mapping[str, Any]
) -> bytes:
    """A self-contained HTML page.

    Args:
        reports: all rankers against each truth.
        results: tables of the study.
        about: the study's settings, as ``dataclasses.asdict`` gives those of
            :class:`rayxkd.study.StudySettings`; addresses lose their secrets here.
    """
    about = recordable(dict(about))
    # What proves something comes first.
    compared = sorted(
        (report for report in reports if report.rankers), key=lambda report: report.chosen
    )
    widest = max(compared, key=lambda report: (not report.chosen, len(report.tasks)), default=None)
    page = environment("rayxkd.study", interval=_interval).get_template("study.html")
    text = page.render(
        version=rayxkd.__version__,
        headings=_headings(),
        truths=[TruthView(f"truth{number}", report) for number, report in enumerate(compared, 1)],
        kinship=widest and Kinship.of(widest),
        times=widest and Times.of(widest),
        reliabilities=[row for report in compared for row in reliability_rows(report, results)],
        teachers=teacher_rows(compared, results),
        kinds=list(dict.fromkeys(report.kind for report in compared)),
        failures=failures(results),
        settings=json.dumps(about, indent=2, default=str, ensure_ascii=False),
        command=command_line(about),
    )
    return text.encode()


def _headings() -> list[str]:
    """Those of the terminal's table, each complete: a screen reader says them one by one."""
    headings: list[str] = []
    for heading in HEADINGS:
        continues = heading.startswith("of ")
        whole = f"{headings[-1].split()[0]} {heading}" if continues else heading
        headings.append(whole.replace("of ", "of\N{NO-BREAK SPACE}"))
    return headings


def _interval(interval: Interval, decimals: int = 2) -> str:
    """A mean and, where it is known, its interval."""
    mean = fixed(interval.mean, decimals)
    if math.isnan(interval.low):
        return mean
    low, high = fixed(interval.low, decimals), fixed(interval.high, decimals)
    return f"{mean} [{low}, {high}]"


def command_line(about: Mapping[str, Any]) -> str:
    """The command of which these are the settings; defaults are left out."""
    defaults = asdict(StudySettings(repository=(), data=(), test=()))
    return " \\\n  ".join(["rayxkd study", *_options(about, defaults)])


def _options(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        usual, option = defaults.get(name), f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            inner = _options(value, usual or {})
            yield from (f"{option}.{one.removeprefix('--')}" for one in inner)
        elif isinstance(value, list | tuple):
            if usual is None or list(value) != list(usual):
                yield shlex.join([option, *map(str, value)])
        elif value != usual:
            is_flag = isinstance(value, bool)
            yield f"{option}={str(value).lower()}" if is_flag else shlex.join([option, str(value)])
