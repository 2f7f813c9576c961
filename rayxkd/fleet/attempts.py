"""How often a job is tried whose process ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Generic

from rayxkd.fleet.pool import Finished, J

# A job whose process ends is tried once more: it may have been the machine's fault. The others go
# first: they do not wait for another such end, and where memory was short, there may be more of it
# by then.
ATTEMPTS = 2
# Where processes are killed from outside, as many as this.
MOST_ATTEMPTS = 4
_PROCESS_ENDED = "its process ended while it ran"


@dataclass(frozen=True)
class Try(Generic[J]):
    """A job, and what became of it so far.

    Attributes:
        job: the job.
        attempts: how often it was begun.
        actors: how often the actor went away that had it.
        ended: how the process of the attempt before ended; empty where it did not.
    """

    job: J
    attempts: int = 1
    actors: int = 0
    ended: str = ""


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
        self._doubts: list[Try[J]] = []

    def failed(
        self, tried: Try[J], queue: deque[Try[J]], failure: str, reason: str
    ) -> Iterator[Finished[J]]:
        """A job failed by what may be the machine's fault: it is tried again, or given up."""
        if tried.attempts < ATTEMPTS:
            queue.append(_once_more(tried))
        else:
            yield _given_up(tried, failure, reason)

    def process_ended(self, tried: Try[J], queue: deque[Try[J]], how: str) -> None:
        """A job's process ended: it goes to the end of the queue, or it becomes doubtful."""
        tried = replace(tried, ended=how)
        if tried.attempts < (MOST_ATTEMPTS if self._killed_from_outside else ATTEMPTS):
            queue.append(_once_more(tried))
        else:
            self._doubts.append(tried)

    def succeeded(self, tried: Try[J]) -> None:
        """A job is done."""
        if tried.ended:
            self._killed_from_outside = True

    def judged(self, queue: deque[Try[J]], at_work: Iterable[Try[J]]) -> Iterator[Finished[J]]:
        """Queue doubtful jobs again or give them up, if there is reason to.

        Args:
            queue: jobs that wait.
            at_work: those that do not; looked at only where a job is doubtful.
        """
        if not self._doubts:
            return
        if self._killed_from_outside:
            doubts, self._doubts = self._doubts, []
            for tried in doubts:
                if tried.attempts < MOST_ATTEMPTS:
                    queue.append(_once_more(tried))
                else:
                    self._doubts.append(tried)
        elif any(tried.ended for tried in chain(queue, at_work)):
            return
        yield from self.given_up()

    def given_up(self) -> Iterator[Finished[J]]:
        """All that is doubtful."""
        doubts, self._doubts = self._doubts, []
        for tried in doubts:
            yield _given_up(tried, "crashed", f"{_PROCESS_ENDED}: {tried.ended}")


def _once_more(tried: Try[J]) -> Try[J]:
    return replace(tried, attempts=tried.attempts + 1)


def _given_up(tried: Try[J], failure: str, reason: str) -> Finished[J]:
    reason = f"{reason}, {tried.attempts} times"
    return Finished(tried.job, None, failure, reason, tried.attempts)
