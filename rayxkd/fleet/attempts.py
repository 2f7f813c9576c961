"""How often a job is tried whose process ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic

from rayxkd.fleet.pool import Finished, J

# A job that takes its actor down is tried once more, on a new actor: it may have been the
# machine's fault. The others go first: they do not wait for another such end, and where memory
# was short, there may be more of it by then.
ATTEMPTS = 2
# Where processes are killed from outside, as many as this.
MOST_ATTEMPTS = 4


@dataclass(frozen=True)
class Try(Generic[J]):
    """A job, and what became of it so far.

    Attributes:
        job: the job.
        attempts: how often it was begun.
        machines: how often its machine went away.
        ended: whether the process of an earlier attempt ended.
    """

    job: J
    attempts: int = 1
    machines: int = 0
    ended: bool = False


@dataclass(frozen=True)
class _Doubt(Generic[J]):
    """A job whose process ended as often as one may, and why it is given up if it is."""

    tried: Try[J]
    reason: str


class Attempts(Generic[J]):
    """Tells jobs that end their process from those whose process is killed from outside.

    Nothing that is left of a process says which it was. But a job that is done in the next attempt
    did not end its process itself. Once there is such a job, others are believed to have been
    killed as well, and tried up to ``MOST_ATTEMPTS`` times. As long as another job waits for its
    next attempt, which may show it, no job is given up.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._killed_from_outside = False
        self._doubts: list[_Doubt[J]] = []

    def process_ended(self, tried: Try[J], queue: deque[Try[J]], reason: str) -> None:
        """A job's process ended: it goes to the end of the queue, or it becomes doubtful."""
        if tried.attempts < ATTEMPTS:
            queue.append(_again(tried))
        else:
            self._doubts.append(_Doubt(tried, reason))

    def succeeded(self, tried: Try[J]) -> None:
        """A job is done."""
        if tried.ended:
            self._killed_from_outside = True

    def judged(self, queue: deque[Try[J]], at_work: Iterable[Try[J]]) -> Iterator[Finished[J]]:
        """Queue doubtful jobs again or give them up, if there is reason to.

        Args:
            queue: jobs that wait.
            at_work: those that do not.
        """
        if not self._doubts:
            return
        if self._killed_from_outside:
            again = [one for one in self._doubts if one.tried.attempts < MOST_ATTEMPTS]
            self._doubts = [one for one in self._doubts if one not in again]
            queue.extend(_again(one.tried) for one in again)
        elif any(tried.ended for tried in (*queue, *at_work)):
            return
        yield from self.given_up()

    def given_up(self) -> Iterator[Finished[J]]:
        """All that is doubtful."""
        doubts, self._doubts = self._doubts, []
        for one in doubts:
            reason = f"{one.reason}, {one.tried.attempts} times"
            yield Finished(one.tried.job, None, "crashed", reason, one.tried.attempts)


def _again(tried: Try[J]) -> Try[J]:
    return replace(tried, attempts=tried.attempts + 1, ended=True)
