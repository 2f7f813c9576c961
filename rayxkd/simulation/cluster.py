"""A cluster in simulated time, with as much of Ray's interface as the pool of actors uses.

So the scheduler under test is :class:`rayxkd.fleet.ActorPool` itself, not a model of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from rayxkd.fleet.outcome import Ended, Overdue
from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.link import SharedLink
from rayxkd.simulation.machines import Machine, Machines
from rayxkd.simulation.tally import Tally
from rayxkd.simulation.teacher import SimulatedTeacher


class Exceptions:
    """Errors by the names that Ray gives them."""

    class RayError(Exception):
        """Any of them."""

    class RayTaskError(RayError):
        """What a job raised; its actor lives on."""

    class OutOfMemoryError(RayError):
        """An actor was ended for want of memory."""

    class ActorUnavailableError(RayError):
        """The actor's machine does not answer."""


class Ref:
    """What a call will have returned."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None


@dataclass(frozen=True)
class _Method:
    """Something that is called as ``method.remote(...)``."""

    remote: Callable[..., Ref]


class SimulatedRay:
    """The ``ray`` module of a simulated cluster.

    While the pool waits, simulated time passes; whatever else the driver does takes none, but for
    what it says by :meth:`work`.
    """

    exceptions = Exceptions

    def __init__(self, conditions: Conditions, seed: int, timeout: float | None = None) -> None:
        """Nothing is there yet.

        Args:
            conditions: machines, network and driver.
            seed: of interruptions and crashes.
            timeout: seconds after which an actor ends a job; ``None`` never does.
        """
        self.timeout = timeout
        self.env = simpy.Environment()
        self.conditions = conditions
        self.tally = Tally()
        self.random = np.random.default_rng(seed)
        self.machines = Machines(self.env, conditions, self.random, self.tally)
        self.link = SharedLink(self.env, conditions.download, conditions.store, conditions.latency)
        self.crashes: Counter[str] = Counter()
        self._news = self.env.event()

    def now(self) -> float:
        """Seconds since the beginning."""
        return float(self.env.now)

    def create_actor(self) -> SimulatedActor:
        """Ask for a worker; it starts when it has a place."""
        return SimulatedActor(self)

    def wait(
        self, refs: Sequence[Ref], num_returns: int, timeout: float
    ) -> tuple[list[Ref], list[Ref]]:
        """The first of these calls that has ended; time passes until one has, or is over."""
        if num_returns != 1:
            raise NotImplementedError("only one at a time")
        ends = self.env.timeout(timeout)
        while True:
            done = next((ref for ref in refs if ref.done), None)
            if done is not None:
                return [done], [ref for ref in refs if ref is not done]
            if ends.processed:
                return [], list(refs)
            self._news = self.env.event()
            self.env.run(until=self._news | ends)

    def get(self, ref: Ref) -> Any:
        """What an ended call returned or raised."""
        if ref.error is not None:
            raise ref.error
        return ref.value

    def kill(self, actor: SimulatedActor) -> None:
        """End a worker; what it was at does not come to an end."""
        actor.kill()

    def work(self, seconds: float) -> None:
        """The driver is busy for so long."""
        if seconds > 0:
            self.env.run(until=self.env.now + seconds)

    def settle(self, ref: Ref, value: Any = None, error: Exception | None = None) -> None:
        """A call has ended."""
        ref.done, ref.value, ref.error = True, value, error
        if not self._news.triggered:
            self._news.succeed()


class SimulatedActor:
    """A worker: waits for a place, starts, and assesses one teacher after another."""

    def __init__(self, ray: SimulatedRay) -> None:
        self._ray, self._env = ray, ray.env
        self.ready = _Method(self._ready)
        self.run = _Method(self._run)
        self._machine: Machine | None = None
        self._ref: Ref | None = None
        self._process: simpy.Process | None = None
        self._ahead: tuple[SimulatedTeacher, simpy.Process] | None = None
        self._starting, self._began = True, self._env.now
        self._gone = False
        ray.machines.ask(self)

    def move_in(self, machine: Machine) -> None:
        """See :class:`~rayxkd.simulation.machines.Tenant`."""
        self._machine, self._began = machine, self._env.now
        self._process = self._env.process(self._start())

    def machine_lost(self) -> None:
        """See :class:`~rayxkd.simulation.machines.Tenant`."""
        self._gone = True
        self._stop("cut_off")
        self._env.process(self._report_loss(self._ready()))

    def kill(self) -> None:
        """End at once."""
        self._stop("crashed")
        self._ray.machines.leave(self, self._machine)

    def _ready(self) -> Ref:
        """The call that it is at; before its first teacher that is its start."""
        if self._ref is None:
            self._ref = Ref()
        return self._ref

    def _run(self, teacher: SimulatedTeacher, upcoming: SimulatedTeacher | None = None) -> Ref:
        if self._machine is None:
            raise RuntimeError("a worker without a place was given a teacher")
        ref = self._ref = Ref()
        self._began = self._env.now
        if self._gone:  # its last result was on its way while the machine went
            self._env.process(self._report_loss(ref))
        else:
            weights = self._weights_of(teacher)
            if upcoming is not None:
                self._ahead = upcoming, self._env.process(self._fetch(upcoming))
            assessment = self._assess(teacher, weights, self._machine, ref)
            self._process = self._env.process(assessment)
        return ref

    def _weights_of(self, teacher: SimulatedTeacher) -> simpy.Process:
        """Its file on the way here, or already here."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is teacher:
            return ahead[1]
        return self._env.process(self._fetch(teacher))

    def _fetch(self, teacher: SimulatedTeacher) -> Generator[simpy.Event, Any, None]:
        with suppress(simpy.Interrupt):
            yield from self._ray.link.read(teacher.weights_bytes)

    def _stop(self, cause: str) -> None:
        """End what it is at, and book the time as spent on starting or for that cause."""
        if self._process is not None and self._process.is_alive:
            self._process.interrupt()
            self._book("starting" if self._starting else cause)
        if self._ahead is not None and self._ahead[1].is_alive:
            self._ahead[1].interrupt()
        self._process = self._ahead = None

    def _book(self, account: str) -> None:
        tally, spent = self._ray.tally, self._env.now - self._began
        setattr(tally, account, getattr(tally, account) + spent)

    def _start(self) -> Generator[simpy.Event, Any, None]:
        try:
            yield self._env.timeout(self._ray.conditions.start)
        except simpy.Interrupt:
            return
        self._book("starting")
        self._starting = False
        self._ray.settle(self._ready())

    def _assess(
        self, teacher: SimulatedTeacher, weights: simpy.Process, machine: Machine, ref: Ref
    ) -> Generator[simpy.Event, Any, None]:
        crashing = self._ray.crashes[teacher.name] < teacher.crashes
        share = self._ray.random.random() if crashing else 1.0
        needed = math.inf if teacher.hangs else share * teacher.seconds * machine.slowness
        try:
            in_time = yield from self._in_time(weights, needed)
        except simpy.Interrupt:
            if weights.is_alive:
                weights.interrupt()
            return
        self._book("useful" if in_time and not crashing else "crashed")
        if not in_time:
            self._ray.settle(ref, Overdue())
        elif crashing:
            self._ray.crashes[teacher.name] += 1
            self._ray.settle(ref, Ended(1))
        else:
            self._ray.settle(ref, teacher)

    def _in_time(self, weights: simpy.Process, needed: float) -> Generator[simpy.Event, Any, bool]:
        """Whether a job that needs so long once its file is here is done before its deadline."""
        if self._ray.timeout is None:
            yield weights
            yield self._env.event() if needed == math.inf else self._env.timeout(needed)
            return True
        deadline = self._env.now + self._ray.timeout
        yield weights | self._env.timeout(self._ray.timeout)
        if weights.is_alive:
            weights.interrupt()
            return False
        left = deadline - self._env.now
        yield self._env.timeout(min(needed, left))
        return needed <= left

    def _report_loss(self, ref: Ref) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(self._ray.conditions.detect)
        if not ref.done:
            self._ray.settle(ref, error=Exceptions.ActorUnavailableError("its machine is gone"))
