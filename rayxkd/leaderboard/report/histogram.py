"""How many teachers have which cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rayxkd.leaderboard.report.standing import Standing
from rayxkd.page import Axis, Tick

WIDTH, HEIGHT = 720, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, WIDTH - 8, 10, HEIGHT - 40
_FEWEST = 30  # teachers, of which a table says as much


@dataclass(frozen=True)
class Bin:
    """Teachers whose costs lie between two values."""

    low: float
    high: float
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """The figure: its bins, its axes with marked values, and how many teachers it counts."""

    bins: tuple[Bin, ...]
    x: Axis
    y: Axis
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    teachers: int

    @classmethod
    def of(cls, standing: Standing) -> Histogram | None:
        """Costs of all teachers that have a rank; ``None`` where they are few."""
        cost_T = standing.values("transport_cost")
        cost_T = cost_T[np.isfinite(cost_T)]
        if len(cost_T) < _FEWEST:
            return None
        bins = int(np.clip(2 * len(cost_T) ** (1 / 3), 12, 60))
        counts, edges = np.histogram(cost_T, bins=bins)
        x = Axis(float(edges[0]), float(edges[-1]), _LEFT, _RIGHT)
        y = Axis(0, 1.05 * float(counts.max()), _BOTTOM, _TOP)
        drawn = []
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True):
            left, right, top = x.at(float(low)), x.at(float(high)), y.at(count)
            width, height = round(max(right - left - 1, 0.5), 2), round(_BOTTOM - top, 2)
            drawn.append(Bin(float(low), float(high), count, left, top, width, height))
        whole = [
            Tick(tick.place, f"{int(tick.label):,}") for tick in y.ticks(5) if "." not in tick.label
        ]
        return cls(tuple(drawn), x, y, tuple(x.ticks(9)), tuple(whole), len(cost_T))
