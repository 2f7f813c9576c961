"""Names and numbers as the report writes them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def elided(name: str, most: int = 30) -> str:
    """A name in at most so many characters: its middle is left out, for both ends tell more."""
    if len(name) <= most:
        return name
    tail = (most - 1) * 2 // 5
    return f"{name[: most - 1 - tail]}{_ELLIPSIS}{name[-tail:]}"


def class_label(name: str, most: int = 26) -> str:
    """A class in a figure: of several names the first one, where all have no room."""
    return elided(name if len(name) <= most else name.partition(", ")[0], most)


def teacher_labels(names: Sequence[str]) -> dict[str, str]:
    """The last part of each teacher's name, or all of it where others end in the same."""
    last = Counter(name.rpartition("/")[2] for name in names)
    return {
        name: name.rpartition("/")[2] if last[name.rpartition("/")[2]] == 1 else name
        for name in names
    }


def thousands(value: float | None) -> str:
    """A positive number to three digits, such as 3.51M; nothing where it is not known."""
    if value is None or not math.isfinite(value):
        return ""
    for unit, power in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= power:
            return f"{_digits(value / power)}{unit}"
    return _digits(value)


def size_of(count: float) -> str:
    """A number of bytes."""
    for unit, power in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{_digits(count / power)} {unit}"
    return f"{count:.0f} bytes"


def duration_of(seconds: float) -> str:
    """A time to two units, such as 2 h 5 min."""
    if seconds < 60:
        return f"{_digits(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        rest = int(seconds) % 60
        return f"{int(seconds) // 60} min {rest} s" if rest else f"{int(seconds) // 60} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def moment_of(seconds: float) -> str:
    """A short time, such as 12.5 ms."""
    for unit, power in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= power:
            return f"{seconds / power:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def share_of(share: float | None) -> str:
    """A share in percent, with as many decimals as it needs."""
    if share is None or not math.isfinite(share):
        return ""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if share < 1 and percent >= 99.5:
        return "> 99 %"
    return f"{percent:.0f} %" if percent >= 9.95 or percent == 0 else f"{percent:.1f} %"


def _digits(value: float) -> str:
    """To three digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
