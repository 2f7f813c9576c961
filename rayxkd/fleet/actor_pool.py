"""Work spread over Ray actors, which may die, hang, and lose their machines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic

from rayxkd.errors import UserError
from rayxkd.fleet.attempts import Attempts, Try
from rayxkd.fleet.outcome import Ended, Overdue, Raised, Returned, StartError
from rayxkd.fleet.patience import Patience, Watch
from rayxkd.fleet.pool import Finished, J, Pool

# That an actor goes away, with a spot machine or by whoever kills it, is no job's fault: it does
# nothing of a job itself. But there is an end to it.
_ACTORS = 5
# The first jobs are the longest, and one that is bound to wait for another of them holds up the
# end: so many for each worker are handed out before one is told its next. Bound from the start,
# 10,000 teachers on 256 GPUs took 1.88 times their lower bound in simulation, and so 1.14 times.
_BEFORE_LOOKING_AHEAD = 4
_POLL_SECONDS = 0.5
# An actor that keeps deadlines itself and says nothing for so long after one is stuck.
GRACE_SECONDS = 60.0
# Machines that come and go for so long without any work done will not do it.
_FLAPPING_SECONDS = 300.0


@dataclass(frozen=True)
class _Running(Generic[J]):
    """A job at work, and the one that its actor makes ready for meanwhile."""

    actor: Any
    tried: Try[J]
    since: float
    upcoming: Try[J] | None = None


class _Starts:
    """Whether actors become ready at all.

    Args:
        most: so many that fail one after the other are a coincidence.
        now: the clock, in seconds.
    """

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most, self._now = most, now
        self._failed = 0
        self._since: float | None = None

    def succeeded(self) -> None:
        """An actor is ready, or has done something."""
        self._failed, self._since = 0, None

    def failed(self, error: Exception) -> None:
        """An actor did not become ready: its own fault, or that of a machine that went away.

        Raises:
            UserError: it is always the actors' own, or machines have been going away for long and
                nothing else happened.
        """
        self._failed += 1
        if self._since is None:
            self._since = self._now()
        own = getattr(error, "actor_init_failed", False)
        for_long = self._now() - self._since > _FLAPPING_SECONDS
        if self._failed > self._most and (own or for_long):
            lines = str(error).strip().splitlines()
            raise UserError(f"workers do not start: {lines[-1] if lines else error}") from error


class ActorPool(Pool[J]):
    """Hands jobs out, one at a time to each actor, in the order given.

    A job that takes long holds only its own actor. A job whose process ends is tried again, see
    :class:`Attempts`; one over its deadline is not. An actor that is lost is replaced, and its job
    begun again. Actors that wait for a place are what an autoscaler acts upon: there are never more
    than jobs that wait, so it starts no machine for nothing, and an actor without a job ends at
    once, so its machine is free.
    """

    def __init__(
        self,
        ray: Any,
        create_actor: Callable[[], Any],
        workers: int,
        timeout: float | None,
        *,
        patience: Patience | None = None,
        look_ahead: bool = False,
        grace: float = 0.0,
        pack: Callable[[J], Any] = lambda job: job,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a pool; actors are started by :meth:`run`.

        Args:
            ray: the module, connected.
            create_actor: makes an actor with methods ``ready()`` and ``run(job)``; what ``run``
                returns is how the job ended (``Outcome``), or just what came of it.
            workers: how many actors.
            timeout: seconds that one job may take on an actor that is ready.
            patience: what is done where no machine comes; ``None`` waits.
            look_ahead: an actor is told its next job with each, as ``run(job, upcoming)``, once
                the first of them, the longest, are handed out, and while there are enough for all.
            grace: seconds after the deadline in which an actor may tell of it itself.
            pack: makes of a job what actors are given.
            now: the clock, in seconds.
        """
        self._ray = ray
        self._create_actor = create_actor
        self.workers = workers
        self.peak = 0
        self._timeout = timeout
        self._now = now
        self._watch = Watch(patience, now)
        self._look_ahead = look_ahead
        self._grace = grace
        self._pack = pack
        self._handed_out = 0
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, _Running[J]] = {}
        self._starts = _Starts(2 * workers, now)
        self._attempts: Attempts[J] = Attempts()

    @property
    def busy(self) -> int:
        """Actors at work."""
        return len(self._running)

    def run(self, jobs: Iterable[J], begin_next: Callable[[], bool]) -> Iterator[Finished[J]]:
        """See :meth:`Pool.run`.

        Raises:
            UserError: actors die before they are ready, or no machine came for any of them.
        """
        queue = deque(Try(job) for job in jobs)
        try:
            while queue or self._running:
                if not begin_next():
                    self._drop_waiting(queue)
                self._fit_to(len(queue))
                if not self._starting and not self._running:
                    break
                yield from self._wait(queue)
                yield from self._attempts.judged(queue, self._tries_at_work())
                self._watch.look(len(self._starting), len(self._running))
            yield from self._attempts.given_up()
        finally:
            self._kill_all()

    def _fit_to(self, queued: int) -> None:
        """As many actors that start as there are jobs for them, up to the limit."""
        wanted = min(self.workers - len(self._running), queued)
        for _ in range(wanted - len(self._starting)):
            actor = self._create_actor()
            self._starting[actor.ready.remote()] = actor
        for ref in list(self._starting)[max(0, wanted) :]:
            self._ray.kill(self._starting.pop(ref))

    def _wait(self, queue: deque[Try[J]]) -> Iterator[Finished[J]]:
        refs = [*self._starting, *self._running]
        done, _ = self._ray.wait(refs, num_returns=1, timeout=_POLL_SECONDS)
        for ref in done:
            if ref in self._starting:
                self._greet(ref, queue)
            else:
                yield from self._collect(ref, queue)
        yield from self._enforce_deadlines(queue)

    def _greet(self, ref: Any, queue: deque[Try[J]]) -> None:
        """An actor is ready, or failed to become so."""
        actor = self._starting.pop(ref)
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._starts.failed(error)
            return
        self._starts.succeeded()
        self._hand_out(actor, queue)

    def _drop_waiting(self, queue: deque[Try[J]]) -> None:
        queue.clear()
        self._running = {ref: replace(one, upcoming=None) for ref, one in self._running.items()}

    def _hand_out(self, actor: Any, queue: deque[Try[J]], upcoming: Try[J] | None = None) -> None:
        """Give an actor the job that it made ready for, or the first that waits."""
        if upcoming is not None:
            queue.appendleft(upcoming)
        if not queue:
            self._ray.kill(actor)
            return
        tried, ahead = queue.popleft(), None
        self._handed_out += 1
        if self._may_look_ahead(len(queue)):
            ahead = queue.popleft()
            ref = actor.run.remote(self._pack(tried.job), self._pack(ahead.job))
        else:
            ref = actor.run.remote(self._pack(tried.job))
        self._running[ref] = _Running(actor, tried, self._now(), ahead)
        self.peak = max(self.peak, len(self._running))

    def _may_look_ahead(self, queued: int) -> bool:
        """Not at the beginning, see above, and at the end, whoever is free takes what is left."""
        begun = self._handed_out > _BEFORE_LOOKING_AHEAD * self.workers
        return self._look_ahead and begun and queued > self.workers

    def _collect(self, ref: Any, queue: deque[Try[J]]) -> Iterator[Finished[J]]:
        running = self._running.pop(ref)
        exceptions = self._ray.exceptions
        try:
            told = self._ray.get(ref)
        except exceptions.OutOfMemoryError:
            yield from self._lost(running, queue, "out_of_memory", "the machine ran out of memory")
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, StartError):
                yield from self._actor_lost(running, queue, str(error.cause))
            else:
                yield from self._failed(running, queue, Raised.of(error.cause))
        except exceptions.RayError:
            yield from self._actor_lost(running, queue, "the worker that had it was lost")
        else:
            self._starts.succeeded()
            yield from self._told(running, queue, told)

    def _told(self, running: _Running[J], queue: deque[Try[J]], told: Any) -> Iterator[Finished[J]]:
        """An actor says how its job ended, and can do the next."""
        tried = running.tried
        match told:
            case Raised():
                yield from self._failed(running, queue, told)
            case Ended():
                self._attempts.process_ended(tried, queue, told.how)
                self._hand_out(running.actor, queue, running.upcoming)
            case Overdue():
                self._hand_out(running.actor, queue, running.upcoming)
                yield self._overdue(tried)
            case _:
                self._attempts.succeeded(tried)
                self._hand_out(running.actor, queue, running.upcoming)
                value = told.value if isinstance(told, Returned) else told
                yield Finished(tried.job, value, attempts=tried.attempts)

    def _failed(
        self, running: _Running[J], queue: deque[Try[J]], raised: Raised
    ) -> Iterator[Finished[J]]:
        reason = f"assessing it failed: {raised.message}"
        if raised.is_files:
            # A full disk, a folder that is gone: the next jobs would fail there as well.
            yield from self._lost(running, queue, "crashed", reason)
            return
        self._hand_out(running.actor, queue, running.upcoming)
        failure = "out_of_memory" if raised.is_memory else "crashed"
        yield Finished(running.tried.job, None, failure, reason, running.tried.attempts)

    def _overdue(self, tried: Try[J]) -> Finished[J]:
        reason = f"it took longer than --timeout {self._timeout:g} s"
        return Finished(tried.job, None, "timeout", reason, tried.attempts)

    def _tries_at_work(self) -> Iterator[Try[J]]:
        for running in self._running.values():
            yield running.tried
            if running.upcoming is not None:
                yield running.upcoming

    def _actor_lost(
        self, running: _Running[J], queue: deque[Try[J]], reason: str
    ) -> Iterator[Finished[J]]:
        """Begin the job again elsewhere: nothing is known against it."""
        self._release(running, queue)
        tried = replace(running.tried, actors=running.tried.actors + 1)
        if tried.actors < _ACTORS:
            queue.appendleft(tried)
            return
        reason = f"{reason}, {tried.actors} times"
        yield Finished(tried.job, None, "crashed", reason, tried.attempts)

    def _lost(
        self, running: _Running[J], queue: deque[Try[J]], failure: str, reason: str
    ) -> Iterator[Finished[J]]:
        """The actor is no good any more: try the job again, or give it up."""
        self._release(running, queue)
        yield from self._attempts.failed(running.tried, queue, failure, reason)

    def _release(self, running: _Running[J], queue: deque[Try[J]]) -> None:
        """End an actor; what it made ready for is another's."""
        self._ray.kill(running.actor)
        if running.upcoming is not None:
            queue.appendleft(running.upcoming)

    def _enforce_deadlines(self, queue: deque[Try[J]]) -> Iterator[Finished[J]]:
        if self._timeout is None:
            return
        for ref, running in list(self._running.items()):  # in the order of their begin
            if self._now() - running.since <= self._timeout + self._grace:
                return
            del self._running[ref]
            self._release(running, queue)
            yield self._overdue(running.tried)

    def _kill_all(self) -> None:
        for actor in self._starting.values():
            self._ray.kill(actor)
        for running in self._running.values():
            self._ray.kill(running.actor)
