"""A race among the teachers of a scan: rounds of jobs, until it is over or the time is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rayxkd.assess.racing.budget import Budget
from rayxkd.assess.racing.field import Field
from rayxkd.assess.racing.part import Judgement
from rayxkd.assess.racing.race import Account
from rayxkd.assess.task import Job
from rayxkd.fleet.pool import Finished, Pool
from rayxkd.fleet.progress import ScanProgress
from rayxkd.leaderboard import Assessment

# Of the time that is left, so much is planned for: rounds end when their slowest teacher ends.
_PLANNED = 0.9
# Of all time, so much may go by before the last teacher of the first round is begun.
_FIRST_ROUND = 2 / 3


@dataclass(frozen=True)
class Desk:
    """What a scan does for a race.

    Attributes:
        make_pool: workers for the jobs of a round.
        row_of: the row of a job that failed or saw all images.
        record: keeps a new row.
        hold: takes a row of before into the table.
        progress: shows a round of so many teachers.
        forget: deletes what a teacher said, by its digest.
    """

    make_pool: Callable[[Sequence[Job]], Pool[Job]]
    row_of: Callable[[Finished[Job]], Assessment]
    record: Callable[[Assessment], None]
    hold: Callable[[Assessment], None]
    progress: Callable[[int], ScanProgress]
    forget: Callable[[str], None]


@dataclass
class Run:
    """What one run of a race did.

    Attributes:
        assessed: teachers whose race ended now.
        reused: teachers whose race had ended before.
        left: teachers whose race has not ended.
        workers: how many there were at most.
    """

    assessed: int = 0
    reused: int = 0
    left: int = 0
    workers: int = 0

    def count(self) -> None:
        """One more ended now."""
        self.left -= 1
        self.assessed += 1


class Watch:
    """Knows when time is up, and how many images it will do for."""

    def __init__(self, budget: Budget, now: Callable[[], float] = time.monotonic) -> None:
        """Start."""
        self._now, self._start = now, now()
        self._limit = math.inf if budget.seconds is None else budget.seconds
        self._images = 0

    @property
    def goes_on(self) -> bool:
        """Whether there is time left."""
        return self._now() - self._start < self._limit

    @property
    def first_round_goes_on(self) -> bool:
        """Whether there is time left to begin teachers in the first round."""
        return self._now() - self._start < _FIRST_ROUND * self._limit

    def count(self, images: int) -> None:
        """So many more images went through teachers."""
        self._images += images

    @property
    def images_left(self) -> int | None:
        """How many more the time will do for at the speed so far; ``None`` where nobody knows."""
        if math.isinf(self._limit) or not self._images:
            return None
        gone = self._now() - self._start
        return int(_PLANNED * max(0.0, self._limit - gone) * self._images / gone)


def run_race(field: Field, desk: Desk, watch: Watch, run: Run) -> None:
    """Race until it is over, or no time is left.

    Where a time does not suffice to judge all in the first round, those that were not begun are
    left for later, and the others are raced.

    Args:
        field: who races, and what is known of them.
        desk: what the scan does.
        watch: over the time.
        run: is kept up to date, also where an exception ends the race.
    """
    race = field.race
    run.left = len(race.contenders)
    while not race.is_over:
        _run_round(field, desk, watch, run)
        if race.account.rounds == 0:
            field.leave_out()
        if not field.is_round_complete:
            return
        if watch.images_left is not None:
            race.limit(watch.images_left)
        new, known = field.close_round()
        _hold(known, desk, run)
        for row in new:
            desk.record(row)
            run.count()
        for digest in {row.teacher_digest for row in new} - field.digests:
            with suppress(OSError):  # what is left over does no harm
                desk.forget(digest)


def _run_round(field: Field, desk: Desk, watch: Watch, run: Run) -> None:
    jobs, known = field.begin_round()
    _hold(known, desk, run)
    if not jobs or not watch.goes_on:
        return
    pool = desk.make_pool(jobs)
    is_first = field.race.account.rounds == 0

    def begin_next() -> bool:
        return watch.first_round_goes_on if is_first else watch.goes_on

    with desk.progress(len(jobs)) as progress:
        for result in pool.run(jobs, begin_next):
            judged = _result_of(result, desk)
            seen = judged.row if isinstance(judged, Judgement) else judged
            watch.count(field.race.images - field.race.seen)
            ended = field.tell(result.job, judged)
            if ended is not None:
                desk.record(ended)
                run.count()
                if ended.is_ok:
                    with suppress(OSError):
                        desk.forget(ended.teacher_digest)
            progress.advance(failed=not seen.is_ok, images=seen.images_seen, workers=pool.busy)
    run.workers = max(run.workers, pool.peak)


def _hold(rows: Sequence[Assessment], desk: Desk, run: Run) -> None:
    for row in rows:
        desk.hold(row)
        run.left -= 1
        run.reused += 1


def _result_of(result: Finished[Job], desk: Desk) -> Judgement | Assessment:
    judged = result.value
    if not isinstance(judged, Judgement):
        return desk.row_of(result)
    return replace(judged, row=replace(judged.row, attempts=result.attempts))


def told(account: Account, seconds: float) -> dict[str, Any]:
    """What a leaderboard says of its race, JSON."""
    return {
        "teachers": account.teachers,
        "keep": account.keep,
        "rounds": account.rounds,
        "images": account.spent,
        "share_of_exhaustive": round(account.share, 6),
        "seconds": round(seconds, 3),  # of all runs that wrote a table
        "eliminated_by_interval": account.by_interval,
        "eliminated_by_rank": account.by_rank,
        "interval_error": account.error,
        "missed_by_rank": account.missed,
        "claimed_error": account.claimed_error,
    }


def summary(account: Account) -> str:
    """The same in a line for the user."""
    best = "the best" if account.keep == 1 else f"one of the best {account.keep}"
    line = (
        f"race: {account.rounds} round(s), {account.spent} images, {account.share:.1%} of the "
        f"exhaustive scan's; {account.by_interval} teacher(s) stopped by interval"
    )
    if account.by_rank:
        line += (
            f", {account.by_rank} by rank, because the budget did not suffice to be sure of them"
        )
    return f"{line}; chance of having missed {best}: {account.claimed_error:.2g}"
