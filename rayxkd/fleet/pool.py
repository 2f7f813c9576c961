"""Work spread over Ray actors, so that whatever a job does, it ends as one result."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

J = TypeVar("J")
J_contra = TypeVar("J_contra", contravariant=True)

# A job that takes its actor down is tried once more, on a new actor: it may have been the
# machine's fault.
_ATTEMPTS = 2
_POLL_SECONDS = 0.5


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


@dataclass
class _Running(Generic[J]):
    actor: Any
    job: J
    attempts: int
    since: float


class Runner(Protocol[J_contra]):
    """Does one job; what an actor is made of."""

    def run(self, job: J_contra) -> Any:
        """Do it and return its result."""


class Pool(ABC, Generic[J]):
    """Has jobs done.

    Attributes:
        workers: how many at a time.
    """

    workers: int

    @abstractmethod
    def run(self, jobs: Iterable[J], begin_next: Callable[[], bool]) -> Iterator[Finished[J]]:
        """Run jobs and yield each as it ends.

        Args:
            jobs: in the order in which they are to be begun.
            begin_next: asked before a job is begun; once it says no, the rest is left.
        """


class SerialPool(Pool[J]):
    """One job after another in this process: no Ray, no deadline, a debugger works."""

    workers = 1

    def __init__(self, runner: Runner[J]) -> None:
        self._runner = runner

    def run(self, jobs: Iterable[J], begin_next: Callable[[], bool]) -> Iterator[Finished[J]]:
        """See :meth:`Pool.run`."""
        for job in jobs:
            if not begin_next():
                return
            yield Finished(job, self._runner.run(job))


class ActorPool(Pool[J]):
    """Hands jobs out, one at a time to each actor, in the order given.

    A job that takes long holds only its own actor. An actor that dies is replaced and its job
    tried again; a job over its deadline loses its actor and is not tried again.
    """

    def __init__(
        self,
        ray: Any,
        create_actor: Callable[[], Any],
        workers: int,
        timeout: float | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a pool; actors are started by :meth:`run`.

        Args:
            ray: the module, connected.
            create_actor: makes an actor with methods ``ready()`` and ``run(job)``.
            workers: how many actors.
            timeout: seconds that one job may take on an actor that is ready.
            now: the clock, in seconds.
        """
        self._ray = ray
        self._create_actor = create_actor
        self.workers = workers
        self._timeout = timeout
        self._now = now
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, _Running[J]] = {}
        self._failed_starts = 0

    def run(self, jobs: Iterable[J], begin_next: Callable[[], bool]) -> Iterator[Finished[J]]:
        """See :meth:`Pool.run`.

        Raises:
            RuntimeError: actors die before they are ready.
        """
        queue = deque((job, 1) for job in jobs)
        try:
            while queue or self._running:
                if not begin_next():
                    queue.clear()
                self._start_missing(len(queue))
                if not self._starting and not self._running:
                    break
                yield from self._wait(queue)
        finally:
            self._kill_all()

    def _start_missing(self, queued: int) -> None:
        """As many actors as there is work for, up to the limit."""
        present = len(self._starting) + len(self._running)
        for _ in range(min(self.workers - present, queued - len(self._starting))):
            actor = self._create_actor()
            self._starting[actor.ready.remote()] = actor

    def _wait(self, queue: deque[tuple[J, int]]) -> Iterator[Finished[J]]:
        refs = [*self._starting, *self._running]
        done, _ = self._ray.wait(refs, num_returns=1, timeout=_POLL_SECONDS)
        for ref in done:
            if ref in self._starting:
                self._greet(ref, queue)
            else:
                yield from self._collect(ref, queue)
        yield from self._enforce_deadlines()

    def _greet(self, ref: Any, queue: deque[tuple[J, int]]) -> None:
        """An actor is ready, or failed to become so."""
        actor = self._starting.pop(ref)
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts > 2 * self.workers:
                raise RuntimeError(f"workers do not start: {error}") from error
            return
        self._hand_out(actor, queue)

    def _hand_out(self, actor: Any, queue: deque[tuple[J, int]]) -> None:
        if not queue:
            self._ray.kill(actor)
            return
        job, attempts = queue.popleft()
        self._running[actor.run.remote(job)] = _Running(actor, job, attempts, self._now())

    def _collect(self, ref: Any, queue: deque[tuple[J, int]]) -> Iterator[Finished[J]]:
        running = self._running.pop(ref)
        exceptions = self._ray.exceptions
        try:
            value = self._ray.get(ref)
        except exceptions.OutOfMemoryError:
            yield from self._lost(running, queue, "out_of_memory", "the machine ran out of memory")
            return
        except exceptions.RayTaskError as error:
            self._hand_out(running.actor, queue)
            reason = f"assessing it failed: {str(error.cause)[:300]}"
            yield Finished(running.job, None, "crashed", reason, running.attempts)
            return
        except exceptions.RayError:
            yield from self._lost(running, queue, "crashed", "its process ended while it ran")
            return
        self._hand_out(running.actor, queue)
        yield Finished(running.job, value, attempts=running.attempts)

    def _lost(
        self, running: _Running[J], queue: deque[tuple[J, int]], failure: str, reason: str
    ) -> Iterator[Finished[J]]:
        """The actor is gone: try the job again, or give it up."""
        self._ray.kill(running.actor)
        if running.attempts < _ATTEMPTS:
            queue.appendleft((running.job, running.attempts + 1))
            return
        reason = f"{reason}, {running.attempts} times"
        yield Finished(running.job, None, failure, reason, running.attempts)

    def _enforce_deadlines(self) -> Iterator[Finished[J]]:
        if self._timeout is None:
            return
        for ref, running in list(self._running.items()):
            if self._now() - running.since > self._timeout:
                del self._running[ref]
                self._ray.kill(running.actor)
                reason = f"it took longer than --timeout {self._timeout:g} s"
                yield Finished(running.job, None, "timeout", reason, running.attempts)

    def _kill_all(self) -> None:
        for actor in self._starting.values():
            self._ray.kill(actor)
        for running in self._running.values():
            self._ray.kill(running.actor)
