"""Pictures made of characters: intervals on a common axis, and the bracket around tied ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Interval = tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Axis:
    """A common axis for intervals.

    Attributes:
        low: value at its left end.
        high: value at its right end.
        width: of the pictures, in characters.
        ascii_only: draw with ASCII alone.
    """

    low: float
    high: float
    width: int
    ascii_only: bool = False

    @classmethod
    def over(cls, intervals: Iterable[Interval], width: int, ascii_only: bool) -> Axis:
        """An axis on which all intervals have room."""
        ends = [end for interval in intervals for end in interval if _is_known(end)]
        known = [end for end in ends if end is not None]
        return cls(min(known, default=0.0), max(known, default=0.0), width, ascii_only)

    @property
    def title(self) -> str:
        """The values at both ends, as far apart as the axis is long."""
        left, right = _value(self.low), _value(self.high)
        line = "-" if self.ascii_only else "─"
        room = self.width - len(left) - len(right) - 2
        return f"{left} {line * room} {right}" if room > 0 else left[: self.width]

    def draw(self, interval: Interval) -> str:
        """A dot at the value, between the ends of its interval: ``├──●──┤``."""
        value, low, high = interval
        if value is None or not math.isfinite(value):
            return ""
        begin, line, end, dot = "|-|o" if self.ascii_only else "├─┤●"
        cells = [" "] * self.width
        if low is not None and high is not None and _is_known(low) and _is_known(high):
            left, right = self._place(low), self._place(high)
            cells[left : right + 1] = line * (right - left + 1)
            cells[left], cells[right] = begin, end
        cells[self._place(value)] = dot
        return "".join(cells)

    def _place(self, value: float) -> int:
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.5
        return round(min(max(share, 0.0), 1.0) * (self.width - 1))


def bracket(members: Sequence[bool], ascii_only: bool = False) -> list[str]:
    """One character a row: a bracket from the first member to the last, open to the left.

    Rows between them that are no members are passed by.
    """
    places = [place for place, member in enumerate(members) if member]
    if ascii_only or len(places) < 2:
        return ["=" if member else " " for member in members]
    first, last = places[0], places[-1]
    signs = [" "] * len(members)
    signs[first : last + 1] = ["┤" if member else "│" for member in members[first : last + 1]]
    signs[first], signs[last] = "┐", "┘"
    return signs


def _value(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1_000 else f"{value:.3g}"


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
