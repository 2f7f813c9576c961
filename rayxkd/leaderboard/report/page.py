"""The page: all parts of the report put into its template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup

import rayxkd
from rayxkd.errors import UserError
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.explain import Explainer
from rayxkd.leaderboard.report import closeup, flow, histogram, ranking, scatter
from rayxkd.leaderboard.report.agreement import Agreement
from rayxkd.leaderboard.report.effort import effort_of
from rayxkd.leaderboard.report.failures import Failures
from rayxkd.leaderboard.report.gallery import Gallery, task_strip
from rayxkd.leaderboard.report.origin import Origin
from rayxkd.leaderboard.report.standing import Standing
from rayxkd.leaderboard.report.summary import Summary
from rayxkd.leaderboard.report.text import (
    class_label,
    elided,
    share_of,
    teacher_labels,
    thousands,
)
from rayxkd.page import digest_of, environment
from rayxkd.secrets import without_secrets

_LISTED, _LEADERS = 1_000, 5
# The first for every page, the second for one that changes.
_SCRIPTS = ["report.js", "live.js"]


@dataclass(frozen=True)
class Live:
    """A page that is served, and changes while its scan goes on.

    Attributes:
        version: of what it shows.
        every: seconds between two looks.
        is_done: whether the scan has written its table.
    """

    version: str
    every: float
    is_done: bool


def report_html(board: Leaderboard, live: Live | None = None) -> bytes:
    """A self-contained HTML page.

    Args:
        board: the leaderboard, with its storage where evidence is to be shown.
        live: how it is served, if it is.

    Raises:
        UserError: it holds the trials of a search.
    """
    board = board.teachers_for("report")
    standing = Standing(board, _LISTED)
    leaders = standing.rows[:_LEADERS]
    material = closeup.Material.of(board, leaders)
    looked_at = closeup.closeups(material, leaders)
    failures = Failures.of(standing.others)
    origin = Origin.of(board)
    return _rendered(
        "report.html",
        live,
        board=board,
        probe=without_secrets(str(board.about["probe"])),
        summary=Summary.of(standing, [one.found for one in looked_at], failures),
        strip=task_strip(material),
        ranking=ranking.Ranking.of(standing),
        histogram=histogram.Histogram.of(standing),
        scatters=[one for one in (scatter.by_size(standing), scatter.by_time(standing)) if one],
        closeups=looked_at,
        gallery=Gallery.of(material, [row["teacher"] for row in leaders]),
        agreement=Agreement.of(standing),
        failures=failures,
        effort=effort_of(board),
        origin=origin,
        settings=json.dumps(origin.about, indent=2, default=str, ensure_ascii=False),
        board_teachers=standing.teachers,
        short=teacher_labels([row["teacher"] for row in leaders]),
    )


def explain_html(board: Leaderboard | None, teacher: str) -> bytes:
    """The page of one teacher.

    Args:
        board: the leaderboard; ``None`` where no teacher is finished yet.
        teacher: as :meth:`rayxkd.leaderboard.explain.Explainer.explain` takes it.

    Raises:
        UserError: there is no such teacher.
    """
    if board is None:
        raise UserError("no teacher is finished yet: look again later")
    found = Explainer(board).explain(teacher)
    material = closeup.Material.of(board, [found.row])
    name = found.row["teacher"]
    return _rendered(
        "explain.html",
        None,
        board=board,
        one=closeup.closeup_of(material, found),
        gallery=Gallery.of(material, [name]),
        closeups=[found],
        board_teachers=found.teachers,
        short=teacher_labels([name]),
    )


def waiting_html(live: Live) -> bytes:
    """The page of a scan that has begun, but has no result yet."""
    return _rendered("waiting.html", live)


def page_policy() -> str:
    """What a browser may do with any page that is served."""
    made = _environment()
    return _policy([_source(made, name) for name in _SCRIPTS], is_served=True)


def _rendered(template: str, live: Live | None, **content: Any) -> bytes:
    made = _environment()
    scripts = [_source(made, name) for name in (_SCRIPTS if live else _SCRIPTS[:1])]
    text = made.get_template(template).render(
        version=rayxkd.__version__,
        live=live,
        scripts=[Markup(one) for one in scripts],
        policy=_policy(scripts, is_served=live is not None),
        figures={"flow": flow, "histogram": histogram, "ranking": ranking, "scatter": scatter},
        **content,
    )
    return text.encode()


@cache
def _environment() -> Environment:
    return environment(
        "rayxkd.leaderboard.report",
        share=share_of,
        thousands=thousands,
        elided=elided,
        class_label=class_label,
        whole=partial(quote, safe=""),
    )


def _policy(scripts: list[str], *, is_served: bool) -> str:
    """What a browser may do with the page: nothing but run these scripts.

    One that is served may also ask its own server.
    """
    allowed = " ".join(f"'{digest_of(script)}'" for script in scripts)
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'" + ("; connect-src 'self'" if is_served else "")
    )


def _source(made: Environment, name: str) -> str:
    """The text of a script, as it stands in the page and in its policy."""
    assert made.loader is not None
    return made.loader.get_source(made, name)[0].strip()
