"""Teachers drawn from what a scan measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rayxkd.errors import UserError
from rayxkd.fleet.attempts import MOST_ATTEMPTS
from rayxkd.leaderboard import Assessment, Journal, Leaderboard
from rayxkd.simulation.measured import SCAN, Measured, Spread
from rayxkd.simulation.workload import drawn_teachers, measured_by, teachers_of
from rayxkd.status import Status
from rayxkd.storage import Storage
from tests.leaderboard.builders import SCHEMA, assessment


def timed(teacher: str, load: float, forward: float, transport: float) -> Assessment:
    return assessment(
        teacher,
        1.0,
        weights_bytes=1000,
        load_seconds=load,
        forward_seconds=forward,
        transport_seconds=transport,
    )


def failed(teacher: str, status: Status, attempts: int = 1) -> Assessment:
    return assessment(teacher, status=status, attempts=attempts, weights_bytes=10)


def board_of(folder: Path, *rows: Assessment) -> Leaderboard:
    journal = Journal(Storage.at(str(folder)))
    return Leaderboard.of(str(folder), journal.write_table(rows, SCHEMA))


def test_times_are_those_of_the_columns(tmp_path: Path) -> None:
    rows = timed("a", 1.0, 10.0, 0.5), timed("b", 3.0, 20.0, 1.5)
    first, second = measured_by(board_of(tmp_path, *rows))
    assert first == Measured("a", 1000, 1.0, 10.0, 0.5)
    assert [one.seconds for one in teachers_of([first, second])] == [11.5, 24.5]
    assert [one.seconds for one in teachers_of([first, second], speed=2)] == [5.75, 12.25]


def test_failures_are_as_they_were(tmp_path: Path) -> None:
    board = board_of(
        tmp_path,
        timed("a", 1.0, 10.0, 0.5),
        failed("card", Status.INVALID, attempts=0),  # never given to a worker
        failed("crashes", Status.CRASHED, attempts=2),
        failed("cut", Status.INVALID),
        failed("hangs", Status.TIMEOUT),
        failed("memory", Status.OUT_OF_MEMORY, attempts=2),
        failed("raises", Status.CRASHED),
    )
    found = {one.name: one for one in teachers_of(measured_by(board))}
    assert found.keys() == {"a", "crashes", "cut", "hangs", "memory", "raises"}
    assert (found["crashes"].crashes, found["crashes"].seconds) == (MOST_ATTEMPTS, 11.5)
    assert found["memory"].crashes == MOST_ATTEMPTS
    assert (found["cut"].failure, found["cut"].seconds) == ("invalid", 1.0)
    assert found["hangs"].hangs
    assert (found["raises"].failure, found["raises"].crashes) == ("crashed", 0)


def test_a_second_attempt_is_a_crash(tmp_path: Path) -> None:
    row = assessment("a", 1.0, attempts=2, load_seconds=1.0, forward_seconds=1.0)
    (teacher,) = teachers_of(measured_by(board_of(tmp_path, row)))
    assert (teacher.crashes, teacher.failure) == (1, "")


def test_without_times_there_is_nothing_to_draw_from(tmp_path: Path) -> None:
    board = board_of(tmp_path, failed("a", Status.INVALID))
    with pytest.raises(UserError, match="no teacher that was assessed"):
        measured_by(board)


def test_rows_are_drawn_whole() -> None:
    measured = [Measured("a", 100, 1.0, 2.0, 0.0), Measured("b", 200, 10.0, 20.0, 0.0)]
    drawn = drawn_teachers(measured, 500, seed=3)
    assert {(one.weights_bytes, one.seconds) for one in drawn} == {(100, 3.0), (200, 30.0)}
    assert len({one.name for one in drawn}) == 500
    assert drawn == drawn_teachers(measured, 500, seed=3)
    assert drawn != drawn_teachers(measured, 500, seed=4)


def test_sizes_are_spread_as_told() -> None:
    measured = [Measured("a", 10**9, 0.0, 1.0, 0.0)]
    spread = Spread(sizes=0.8, exponent=0.5, residual=0.1, most=1e6)
    drawn = drawn_teachers(measured, 20_000, 0, spread)
    sizes = np.log([one.weights_bytes / 1e9 for one in drawn])
    times = np.log([one.seconds for one in drawn])
    assert np.std(sizes) == pytest.approx(0.8, rel=0.03)
    slope = np.polyfit(sizes, times, 1)[0]
    assert slope == pytest.approx(0.5, rel=0.03)
    assert np.std(times - slope * sizes) == pytest.approx(0.1, rel=0.03)


def test_no_multiple_of_the_size_is_above_the_most() -> None:
    drawn = drawn_teachers([Measured("a", 1000, 0.0, 1.0, 0.0)], 5000, 0, Spread(sizes=5.0))
    assert max(one.weights_bytes for one in drawn) == 90_000


def test_the_figures_of_our_own_are_times() -> None:
    assert len(SCAN) == 5
    for entry in SCAN:
        assert entry.weights_bytes > 1_000_000
        assert min(entry.load, entry.forward, entry.scoring) > 0
