"""The explanation of a rank on a terminal, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rayxkd.console import literal
from rayxkd.leaderboard.certainty import Certainty
from rayxkd.leaderboard.explanation import Explanation, Pair, TargetClass, WorstImage
from rayxkd.leaderboard.layout import size_of
from rayxkd.leaderboard.values import interval, json_value
from rayxkd.status import Status

_PAIRS_SHOWN = 3
_LONGEST_NAME = 40  # of a class; lists of synonyms are far longer


def explanation_json(found: Explanation) -> str:
    """Everything that is known, as one JSON object."""
    content = asdict(found)
    content["row"] = {name: json_value(value) for name, value in found.row.items()}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def print_explanation(found: Explanation, console: Console) -> None:
    """Print it for people."""
    for line in _head(found):
        console.print(literal(line), soft_wrap=True)
    if found.missing:
        console.print(literal(found.missing, "yellow"), soft_wrap=True)
    if not found.classes:
        return
    _title(console, "How sure the rank is")
    if found.certainty is not None:
        for line in certainty_lines(found.row["teacher"], found.certainty):
            console.print(literal(f"  {line}"), soft_wrap=True)
    _title(console, "Which of its classes carry which of the task's")
    console.print(_classes(found))
    note = (
        f"share of the target class's mass at temperature {found.temperature:g}, and how many "
        "times chance; right: images whose prediction moves to their class at the least cost"
    )
    console.print(Text(note, style="dim", overflow="fold"))
    _title(console, "The images that cost most")
    console.print(_worst(found))


def certainty_lines(teacher: str, certainty: Certainty) -> list[str]:
    """How sure a rank is, in words."""
    if certainty.low == certainty.high:
        ranks = f"rank {certainty.low}"
    else:
        ranks = f"rank {certainty.low} to {certainty.high}"
    lines = [f"{ranks} in 95% of probe sets drawn anew from these images"]
    if certainty.low == 1:
        lines.append(f"first in {_percent(certainty.first)}")
    rivals = {name: share for name, share in certainty.beats.items() if name != teacher}
    near = sorted(rivals, key=lambda name: abs(rivals[name] - 0.5))[:3]
    lines += [f"cheaper than {name} in {_percent(rivals[name])}" for name in near]
    return lines if near else [*lines, "no other teacher's interval overlaps its own"]


def _head(found: Explanation) -> Iterator[str]:
    row = found.row
    if row["status"] != Status.OK:
        yield f"{row['teacher']}: {row['status']}, no rank"
        yield f"why: {row['reason']}"
        tried = "tried once" if row["attempts"] == 1 else f"tried {row['attempts']} times"
        raced = row["status"] == Status.ELIMINATED
        again = "without --budget" if raced else "with --retry-failed"
        yield f"{tried}; to {'see it through' if raced else 'try again'}: the same scan {again}"
        return
    ends = interval(row["transport_cost_low"], row["transport_cost_high"])
    yield (
        f"{row['teacher']}: rank {row['rank']} of {found.teachers}, cost "
        f"{row['transport_cost']:.3f} {ends} {found.unit}, {row['relative_cost']:.0%} of that of "
        "random pairs"
    )
    facts = [
        f"{row['num_classes']} classes" if row["num_classes"] else "",
        f"{size_of(row['parameters'])} parameters" if row["parameters"] else "",
        f"licence {row['license']}" if row["license"] else "",
        f"{_percent(found.accuracy)} of the images move to their own class"
        if found.accuracy is not None
        else "",
    ]
    yield "; ".join(fact for fact in facts if fact)
    if row["tied"] and found.tied > 1:
        yield f"tied: {found.tied} teachers have intervals that overlap the leader's"
    if found.scores:
        told = (f"{one.name} {one.rank} of {one.teachers}" for one in found.scores)
        yield f"rank by other metrics: {', '.join(told)}"


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _classes(found: Explanation) -> Table:
    table = _table()
    table.add_column("class", overflow="fold", max_width=24)
    for title in ("images", "cost", "right"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("mistaken for", overflow="fold", max_width=24)
    table.add_column("carried by", overflow="fold", ratio=1)
    for one in sorted(found.classes, key=lambda one: -one.cost):
        table.add_row(*map(literal, _class_cells(one)))
    return table


def _class_cells(one: TargetClass) -> list[str]:
    mistaken = "" if one.confused is None else f"{one.confused[0]} {_percent(one.confused[1])}"
    carried = ", ".join(map(_pair, one.pairs[:_PAIRS_SHOWN])) or "nothing above chance"
    right = _percent(one.accuracy)
    return [one.name, str(one.images), f"{one.cost:.3f}", right, mistaken, carried]


def _pair(pair: Pair) -> str:
    return f"{_short(pair.source)} {_percent(pair.share)} ({pair.lift:.1f}x)"


def _worst(found: Explanation) -> Table:
    table = _table()
    table.add_column("image", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("class", overflow="fold", max_width=24)
    table.add_column("moves to", overflow="fold", max_width=24)
    table.add_column("the teacher says", overflow="fold", ratio=1)
    for one in found.worst:
        table.add_row(*map(literal, _image_cells(one)))
    return table


def _image_cells(one: WorstImage) -> list[str]:
    said = ", ".join(f"{_short(name)} {_percent(share)}" for name, share in one.top)
    return [f"#{one.index}", f"{one.cost:.3f}", one.label, one.nearest, said]


def _table() -> Table:
    return Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


def _short(name: str) -> str:
    """A class name: of many synonyms the first, and no longer than fits."""
    first = name.split(",", maxsplit=1)[0].strip() or name
    return first if len(first) <= _LONGEST_NAME else f"{first[: _LONGEST_NAME - 3]}..."


def _percent(share: float) -> str:
    """A share in percent; one that is not quite 0 or 100 % is not said to be."""
    shown = f"{100 * share:.0f}"
    if shown == "0" and share > 0:
        return "<1%"
    return ">99%" if shown == "100" and share < 1 else f"{shown}%"
