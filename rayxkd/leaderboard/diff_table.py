"""What changed between two leaderboards, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from rayxkd.console import literal
from rayxkd.errors import UserError, some_of
from rayxkd.leaderboard.diff import Difference, Move, Place

# More of a value is for programs.
_LONGEST_VALUE = 60
_DIGEST_SHOWN = 12


def print_difference(found: Difference, console: Console, top: int) -> None:
    """Print what changed: settings first, for they say what the rest means.

    Args:
        found: what changed.
        console: where it is printed.
        top: how many teachers of each kind.

    Raises:
        UserError: ``top`` is no such number.
    """
    if top < 0:
        raise UserError(f"--top {top} is no number of rows: give 0 or more")
    console.print(literal(f"{found.before} -> {found.after}"), soft_wrap=True)
    _print_facts(found, console)
    if found.moved:
        console.print(_moves(found.moved[:top], console))
        _print_more(len(found.moved) - top, "moved", console)
    for title, places in _lists(found).items():
        for place in places[:top]:
            console.print(literal(f"{title}: {_told(place)}"), soft_wrap=True)
        _print_more(len(places) - top, title, console)
    console.print(_summary(found), style="dim", highlight=False)


def _print_facts(found: Difference, console: Console) -> None:
    told = {f"--{name}": pair for name, pair in found.settings.items()} | found.facts
    for name, pair in told.items():
        line = f"{name}: {' -> '.join(_value(name, one) for one in pair)}"
        console.print(literal(line), soft_wrap=True)
    if found.weights:
        line = f"other weights: {len(found.weights)} teacher(s): {some_of(found.weights)}"
        console.print(literal(line), soft_wrap=True)
    if not found.comparable:
        line = "probe set or configuration differ: costs and ranks are not to be compared"
        console.print(literal(line, "yellow"), soft_wrap=True)


def _value(name: str, value: Any) -> str:
    """A value, cut short where it is long."""
    if value is None:
        return "(default)" if name.startswith("--") else "(unknown)"
    if isinstance(value, list):
        length = _DIGEST_SHOWN if name.endswith("digest") else None
        value = ", ".join(str(one)[:length] for one in value) or "(none)"
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _moves(moves: Sequence[Move], console: Console) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("teacher", overflow="fold")
    for title in ("cost", "change"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("intervals")
    table.add_column("weights")
    for move in moves:
        before, after = move.cost
        arrow, style = _arrow(move.rank, ("+", "-") if console.options.ascii_only else ("↑", "↓"))
        table.add_row(
            f"{move.rank[0]} -> {move.rank[1]}",
            literal(arrow, style),
            literal(move.teacher),
            f"{before:.3f} -> {after:.3f}",
            f"{after - before:+.3f}",
            {True: "overlap", False: "apart", None: ""}[move.overlap],
            "other" if move.weights_changed else "",
        )
    return table


def _arrow(rank: tuple[int, int], arrows: tuple[str, str]) -> tuple[str, str]:
    """Upwards is towards the first place."""
    places = rank[0] - rank[1]
    if not places:
        return "=", ""
    if places > 0:
        return f"{arrows[0]}{places}", "green"
    return f"{arrows[1]}{-places}", "red"


def _lists(found: Difference) -> dict[str, list[Place]]:
    return {
        "came": found.came,
        "went": found.went,
        "failed": found.failed,
        "mended": found.mended,
    }


def _told(place: Place) -> str:
    rank = f", rank {place.rank}" if place.rank is not None else ""
    reason = f": {place.reason}" if place.reason else ""
    return f"{place.teacher} ({place.status}{rank}){reason}"


def _print_more(more: int, title: str, console: Console) -> None:
    if more > 0:
        console.print(f"{title}: {more} more (--top)", style="dim", highlight=False)


def _summary(found: Difference) -> str:
    counts = {"moved": len(found.moved)}
    counts |= {title: len(places) for title, places in _lists(found).items()}
    counts["unchanged"] = found.unchanged
    return ", ".join(f"{count} {title}" for title, count in counts.items())
