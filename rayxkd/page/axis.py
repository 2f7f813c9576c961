"""Numbers as pages write them, and axes: where on a figure a value lies.

Places are those of an SVG: x to the right, y downwards, in the units of its view box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MINUS = "\N{MINUS SIGN}"


def fixed(value: float | None, decimals: int = 2) -> str:
    """A number with a true minus sign; a dash for what is not known."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    text = f"{value:.{decimals}f}"
    return text.replace("-", MINUS) if float(text) else text.removeprefix("-")


@dataclass(frozen=True)
class Tick:
    """A marked value.

    Attributes:
        place: where it lies.
        label: what it says.
    """

    place: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A stretch of a figure that stands for values.

    Attributes:
        low: the value at its start.
        high: the value at its end; above ``low``, which is positive if the axis is logarithmic.
        start: where it begins.
        end: where it ends; below ``start`` where values grow upwards.
        is_logarithmic: whether equal lengths are equal ratios.
    """

    low: float
    high: float
    start: float
    end: float
    is_logarithmic: bool = False

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> Axis:
        """The axis that shows all finite values, with some room on either side."""
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        room = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """Where a value lies; one beyond the axis lies at its end."""
        inside = min(max(value, self.low), self.high)
        position, low, high = (self._measure(of) for of in (inside, self.low, self.high))
        return round(self.start + (position - low) / (high - low) * (self.end - self.start), 2)

    def _measure(self, value: float) -> float:
        return math.log(value) if self.is_logarithmic else value

    def ticks(self, most: int) -> list[Tick]:
        """Round values, ``most`` of them or fewer."""
        steps = (base * 10.0**power for power in range(-12, 13) for base in (1, 2, 5))
        for step in steps:
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < most:
                break
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        values = [number * step for number in range(first, last + 1)]
        return [Tick(self.at(value), fixed(value, decimals)) for value in values]

    def ticks_at(self, values: Iterable[float]) -> list[Tick]:
        """Those of the given values that lie on the axis."""
        shown = [value for value in values if self.low <= value <= self.high]
        return [Tick(self.at(value), f"{value:g}") for value in shown]
