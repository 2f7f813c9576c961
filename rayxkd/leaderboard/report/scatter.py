"""Cost against what a teacher takes: its size, or its time for an image.

Legend: T teachers that have a rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rayxkd.leaderboard.report.labels import Box, Label, placed
from rayxkd.leaderboard.report.standing import Floats, Standing
from rayxkd.leaderboard.report.text import elided, moment_of, thousands
from rayxkd.page import Axis, Tick, fixed

WIDTH, HEIGHT = 460, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, WIDTH - 12, 14, HEIGHT - 42
_POINTS = 300  # more of them are counted in tiles
_COLUMNS, _ROWS = 58, 40
_LABELS, _FRONT = 14, 60


@dataclass(frozen=True)
class Point:
    """A teacher.

    Attributes:
        number: by which the table refers to it.
        told: what it says when it is pointed at.
        x: from the left.
        y: from above.
        low: where the lower end of its interval lies, or ``None``.
        high: where the upper end lies.
        is_optimal: whether nobody beats it in both.
    """

    number: int
    told: str
    x: float
    y: float
    low: float | None
    high: float | None
    is_optimal: bool


@dataclass(frozen=True)
class Tile:
    """A part of a figure with too many teachers to draw them one by one."""

    x: float
    y: float
    width: float
    height: float
    share: float
    count: int


@dataclass(frozen=True)
class Optimal:
    """A row of the table beside the figure."""

    teacher: str
    value: str
    cost: float


@dataclass(frozen=True)
class Scatter:
    """The figure.

    Attributes:
        title: what it shows.
        horizontal: what lies to the right.
        x: logarithmic, of what a teacher takes.
        y: of costs, the lower the further down.
        x_ticks: marked on it.
        points: teachers one by one; of many only those that are optimal.
        tiles: all teachers, where they are many.
        labels: of points.
        front: path along those that are optimal.
        optimal: the same as rows, the cheapest first.
        teachers: how many it shows.
        left_out: how many optimal ones are not drawn one by one.
    """

    title: str
    horizontal: str
    x: Axis
    y: Axis
    x_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    tiles: tuple[Tile, ...]
    labels: tuple[Label, ...]
    front: str
    optimal: tuple[Optimal, ...]
    teachers: int
    left_out: int


def by_size(standing: Standing) -> Scatter | None:
    """Cost against the number of parameters; ``None`` where no two teachers differ in it."""
    title = "Cost and size"
    return _scatter(standing, "parameters", title, "parameters", thousands)


def by_time(standing: Standing) -> Scatter | None:
    """Cost against the time of a forward pass; ``None`` where no two teachers differ in it."""
    title = "Cost and speed"
    return _scatter(standing, "seconds_per_image", title, "time for an image", moment_of)


def _scatter(
    standing: Standing, name: str, title: str, horizontal: str, write: Callable[[float], str]
) -> Scatter | None:
    value_T, cost_T = standing.values(name), standing.values("transport_cost")
    front_T = standing.front(name)
    known_T = np.isfinite(value_T) & np.isfinite(cost_T) & (value_T > 0)
    if not front_T.any():
        return None
    is_many = int(known_T.sum()) > _POINTS
    low_T, high_T = standing.values("transport_cost_low"), standing.values("transport_cost_high")
    heights = cost_T[known_T] if is_many else np.concatenate([cost_T, low_T, high_T])
    x = _logarithmic(value_T[known_T])
    y = Axis.around(heights[np.isfinite(heights)].tolist(), _BOTTOM, _TOP)
    optimal_T = np.flatnonzero(front_T & known_T)
    drawn = _spread(optimal_T, _FRONT) if is_many else np.flatnonzero(known_T)
    names = standing.ranked["teacher"]
    points = tuple(
        Point(
            number=int(place),
            told=f"{names[place].as_py()}: cost {fixed(cost_T[place], 3)}, "
            f"{write(value_T[place])}{' parameters' if name == 'parameters' else ' an image'}",
            x=x.at(value_T[place]),
            y=y.at(cost_T[place]),
            low=None if is_many else _at(y, low_T[place]),
            high=None if is_many else _at(y, high_T[place]),
            is_optimal=bool(front_T[place]),
        )
        for place in drawn.tolist()
    )
    steps = _steps(x, y, value_T[optimal_T], cost_T[optimal_T])
    return Scatter(
        title=title,
        horizontal=horizontal,
        x=x,
        y=y,
        x_ticks=tuple(Tick(x.at(value), write(value)) for value in _round_values(x)),
        points=points,
        tiles=tuple(_tiles(x, y, value_T[known_T], cost_T[known_T])) if is_many else (),
        labels=tuple(_labels(standing, points, steps)),
        front="M" + "L".join(f"{across:g} {down:g}" for across, down in steps),
        optimal=tuple(
            Optimal(names[place].as_py(), write(value_T[place]), float(cost_T[place]))
            for place in _spread(optimal_T, _FRONT).tolist()
        ),
        teachers=int(known_T.sum()),
        left_out=max(0, len(optimal_T) - len(_spread(optimal_T, _FRONT))),
    )


def _logarithmic(values: Floats) -> Axis:
    low, high = float(values.min()), float(values.max())
    room = max((high / low) ** 0.07, 1.08)
    return Axis(low / room, high * room, _LEFT, _RIGHT, is_logarithmic=True)


def _round_values(axis: Axis) -> list[float]:
    """1, 2 and 5 times powers of ten on the axis, or powers alone where these are many."""
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    for bases in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        values = [base * 10.0**power for power in powers for base in bases]
        inside = [value for value in values if axis.low <= value <= axis.high]
        if len(inside) <= 7:
            return inside
    return inside[:: math.ceil(len(inside) / 7)]


def _spread(places: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most so many of them, evenly, the first and the last among them."""
    if len(places) <= most:
        return places
    kept: NDArray[np.intp] = places[
        np.unique(np.linspace(0, len(places) - 1, most).round().astype(int))
    ]
    return kept


def _tiles(x: Axis, y: Axis, value_T: Floats, cost_T: Floats) -> Iterator[Tile]:
    """How many teachers lie where; opacity grows as the logarithm of their number."""
    log_T = np.log(value_T)
    counts, x_edges, y_edges = np.histogram2d(
        log_T,
        cost_T,
        bins=(_COLUMNS, _ROWS),
        range=((math.log(x.low), math.log(x.high)), (y.low, y.high)),
    )
    most = math.log1p(counts.max())
    for column, row in np.argwhere(counts).tolist():
        left, right = (x.at(math.exp(x_edges[column + side])) for side in (0, 1))
        bottom, top = (y.at(y_edges[row + side]) for side in (0, 1))
        count = int(counts[column, row])
        share = round(math.log1p(count) / most, 2)
        yield Tile(left, top, round(right - left, 2), round(bottom - top, 2), share, count)


def _labels(
    standing: Standing, points: tuple[Point, ...], steps: list[tuple[float, float]]
) -> list[Label]:
    """Of those that are optimal, and then of others, as far as there is room."""
    marks = [Box(one.x - 5, one.y - 5, one.x + 5, one.y + 5) for one in points]
    marks += [_between(*ends) for ends in pairwise(steps)]
    ordered = sorted(points, key=lambda one: (not one.is_optimal, one.number))
    names = standing.ranked["teacher"]
    wanted = [
        (elided(_short(standing, names[one.number].as_py()), 26), one.x, one.y)
        for one in ordered[:_LABELS]
    ]
    return placed(wanted, marks, Box(_LEFT, 0, WIDTH, _BOTTOM))


def _short(standing: Standing, name: str) -> str:
    return standing.labels.get(name, name.rpartition("/")[2])


def _steps(x: Axis, y: Axis, value_T: Floats, cost_T: Floats) -> list[tuple[float, float]]:
    """Corners of the front, which reaches the edges: everything above it is beaten."""
    order = np.lexsort((cost_T, value_T))
    corners, height = [], float(_TOP)
    for value, cost in zip(value_T[order].tolist(), cost_T[order].tolist(), strict=True):
        corners += [(x.at(value), height), (x.at(value), y.at(cost))]
        height = y.at(cost)
    return [*corners, (float(_RIGHT), height)]


def _between(one: tuple[float, float], other: tuple[float, float]) -> Box:
    """What a line between two corners covers."""
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(one, other, strict=True))
    return Box(left - 1, top - 1, right + 1, bottom + 1)


def _at(axis: Axis, value: float) -> float | None:
    return axis.at(value) if math.isfinite(value) else None
