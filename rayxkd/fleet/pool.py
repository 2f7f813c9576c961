"""Having jobs done one after another, so that whatever a job does, it ends as one result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

J = TypeVar("J")
J_contra = TypeVar("J_contra", contravariant=True)


@dataclass(frozen=True)
class Finished(Generic[J]):
    """How a job ended.

    Attributes:
        job: the job.
        value: what its actor returned; ``None`` where it failed.
        failure: ``crashed``, ``out_of_memory`` or ``timeout``; empty where it did not fail.
        reason: why it failed, in a sentence.
        attempts: how often it was tried.
    """

    job: J
    value: Any = None
    failure: str = ""
    reason: str = ""
    attempts: int = 1


class Runner(Protocol[J_contra]):
    """Does one job; what an actor is made of."""

    def run(self, job: J_contra) -> Any:
        """Do it and return its result."""


class Pool(ABC, Generic[J]):
    """Has jobs done.

    Attributes:
        workers: how many at a time, at most.
        peak: how many there were at most so far.
    """

    workers: int
    peak: int

    @property
    @abstractmethod
    def busy(self) -> int:
        """How many at present."""

    @abstractmethod
    def run(self, jobs: Iterable[J], begin_next: Callable[[], bool]) -> Iterator[Finished[J]]:
        """Run jobs and yield each as it ends.

        Args:
            jobs: in the order in which they are to be begun.
            begin_next: asked before a job is begun; once it says no, the rest is left.
        """


class SerialPool(Pool[J]):
    """One job after another in this process: no Ray, no deadline, a debugger works."""

    workers = peak = 1

    def __init__(self, runner: Runner[J]) -> None:
        self._runner = runner

    @property
    def busy(self) -> int:
        """See :class:`Pool`."""
        return 1

    def run(self, jobs: Iterable[J], begin_next: Callable[[], bool]) -> Iterator[Finished[J]]:
        """See :meth:`Pool.run`."""
        for job in jobs:
            if not begin_next():
                return
            yield Finished(job, self._runner.run(job))
