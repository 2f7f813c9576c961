"""The teachers of a simulated scan, drawn from what a real one measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from rayxkd.errors import UserError
from rayxkd.fleet.attempts import MOST_ATTEMPTS
from rayxkd.leaderboard import Leaderboard
from rayxkd.simulation.measured import Measured, Spread
from rayxkd.simulation.teacher import SimulatedTeacher
from rayxkd.status import Status

_COLUMNS = (
    *("teacher", "status", "attempts", "weights_bytes"),
    *("load_seconds", "forward_seconds", "transport_seconds", "metric_seconds"),
)
_PROCESS_ENDED = (Status.CRASHED, Status.OUT_OF_MEMORY)


def measured_by(board: Leaderboard) -> list[Measured]:
    """What the teachers of a scan took, as its columns say.

    A failed row has no times of its own: what ended with its process, or raised, is taken to have
    failed on the way through an assessment as long as the median of the others, and what could
    not be loaded after the median time of loading.

    Raises:
        UserError: it holds no teacher that was assessed.
    """
    board.teachers_for("simulate")
    rows = board.table.select(_COLUMNS).to_pylist()
    good = [row for row in rows if row["status"] == Status.OK]
    if not good:
        raise UserError(f"{board.url} holds no teacher that was assessed: simulate needs its times")
    typical = {name: median(_seconds(row, name) for row in good) for name in _COLUMNS[4:]}
    return [_measured(row, typical) for row in rows if row["attempts"]]


def teachers_of(measured: Sequence[Measured], speed: float = 1.0) -> list[SimulatedTeacher]:
    """The same teachers once more, on machines that compute ``speed`` times as fast."""
    return [_teacher(entry, entry.teacher, speed=speed) for entry in measured]


def drawn_teachers(
    measured: Sequence[Measured],
    count: int,
    seed: int,
    spread: Spread | None = None,
    speed: float = 1.0,
) -> list[SimulatedTeacher]:
    """So many teachers, drawn with replacement, row by row.

    Args:
        measured: what they are drawn from.
        count: how many.
        seed: of the draw.
        spread: how sizes and times differ from what was measured; ``None``: not at all.
        speed: how many times as fast the machines compute.
    """
    random = np.random.default_rng(seed)
    chosen = random.integers(len(measured), size=count)
    scales = _scales(random, count, spread)
    drawn = zip([measured[row] for row in chosen], scales, strict=True)
    return [
        _teacher(entry, f"{entry.teacher}-{number}", size, time, speed=speed)
        for number, (entry, (size, time)) in enumerate(drawn)
    ]


@dataclass(frozen=True)
class Workload:
    """The work of a scan, in the order of its agenda, and where its figures come from."""

    teachers: Sequence[SimulatedTeacher]
    source: str


def _measured(row: dict[str, Any], typical: dict[str, float]) -> Measured:
    load, forward, *scoring = (_seconds(row, name) for name in _COLUMNS[4:])
    if row["load_seconds"] is None:
        load, forward, *scoring = typical.values()
        if row["status"] not in _PROCESS_ENDED:
            forward, scoring = 0.0, []
    return Measured(
        row["teacher"],
        row["weights_bytes"] or 0,
        load,
        forward,
        sum(scoring),
        row["status"],
        row["attempts"],
    )


def _seconds(row: dict[str, Any], name: str) -> float:
    return float(row[name] or 0.0)


def _teacher(
    entry: Measured, name: str, size: float = 1.0, time: float = 1.0, *, speed: float
) -> SimulatedTeacher:
    """A teacher like this one, with so many times its size and its forward pass's time."""
    seconds = entry.load * size + entry.forward * time + entry.scoring
    ended = entry.status in _PROCESS_ENDED and entry.attempts > 1
    return SimulatedTeacher(
        name,
        round(entry.weights_bytes * size),
        seconds / speed,
        crashes=MOST_ATTEMPTS if ended else entry.attempts - 1,
        hangs=entry.status == Status.TIMEOUT,
        failure="" if entry.status == Status.OK or ended else entry.status,
    )


def _scales(
    random: np.random.Generator, count: int, spread: Spread | None
) -> Iterator[tuple[float, float]]:
    """For each teacher the multiples of its size and of its forward pass's time."""
    if spread is None or spread.sizes == 0:
        return iter([(1.0, 1.0)] * count)
    most = math.log(spread.most)
    sizes = np.clip(random.normal(0.0, spread.sizes, count), -most, most)
    residuals = np.clip(random.normal(0.0, spread.residual, count), -most, most)
    times = spread.exponent * sizes + residuals
    return zip(np.exp(sizes).tolist(), np.exp(times).tolist(), strict=True)
