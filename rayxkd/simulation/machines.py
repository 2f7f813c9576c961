"""Machines that come when they are wanted, are taken away at random, and leave when idle."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count
from typing import Any, Protocol

import numpy as np
import simpy

from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.tally import Tally


class Tenant(Protocol):
    """What takes a place on a machine."""

    def move_in(self, machine: Machine) -> None:
        """It has its place."""

    def machine_lost(self) -> None:
        """The machine is gone, with everything on it."""


class Machine:
    """One machine that is there.

    Attributes:
        node: its id.
        slowness: how many times longer it computes than others.
        tenants: who is on it, in the order in which they came.
    """

    def __init__(self, number: int, slowness: float, wanted_at: float) -> None:
        self.node = f"machine-{number}"
        self.slowness = slowness
        self.wanted_at = wanted_at
        self.tenants: dict[Tenant, None] = {}
        self.vacancies = 0  # how often it has become empty
        self.empty_since: float | None = None


class Machines:
    """The fleet: an autoscaler that boots a machine for whoever has no place."""

    def __init__(
        self,
        env: simpy.Environment,
        conditions: Conditions,
        random: np.random.Generator,
        tally: Tally,
    ) -> None:
        self._env, self._conditions, self._random, self._tally = env, conditions, random, tally
        self._numbers = count()
        self._standing: dict[str, Machine] = {}
        self._with_room: dict[Machine, None] = {}
        self._waiting: dict[Tenant, None] = {}
        self._booting = 0

    def ask(self, tenant: Tenant) -> None:
        """Give it a place, now or when there is one."""
        if self._with_room:
            self._place(tenant, next(iter(self._with_room)))
            return
        self._waiting[tenant] = None
        places = self._conditions.places
        there = len(self._standing) + self._booting
        if len(self._waiting) > self._booting * places and there < self._conditions.machines:
            self._booting += 1
            self._env.process(self._life())

    def leave(self, tenant: Tenant, machine: Machine | None) -> None:
        """It does not want its place any more, or does not want one."""
        if machine is None:
            self._waiting.pop(tenant, None)
        elif tenant in machine.tenants:
            del machine.tenants[tenant]
            self._with_room[machine] = None
            self._welcome()
            self._note_vacancy(machine)

    def close(self) -> None:
        """No more work: whoever still stands leaves when it has been idle for long enough."""
        now = self._env.now
        for machine in self._standing.values():
            since = now if machine.empty_since is None else machine.empty_since
            end = max(now, since + self._conditions.idle)
            self._tally.machine_seconds += end - machine.wanted_at

    def _place(self, tenant: Tenant, machine: Machine) -> None:
        machine.tenants[tenant] = None
        machine.empty_since = None
        if len(machine.tenants) == self._conditions.places:
            del self._with_room[machine]
        tenant.move_in(machine)

    def _welcome(self) -> None:
        while self._waiting and self._with_room:
            tenant = next(iter(self._waiting))
            del self._waiting[tenant]
            self._place(tenant, next(iter(self._with_room)))

    def _note_vacancy(self, machine: Machine) -> None:
        if not machine.tenants:
            machine.vacancies += 1
            machine.empty_since = self._env.now
            self._env.process(self._leave_if_idle(machine, machine.vacancies))

    def _life(self) -> Generator[simpy.Event, Any, None]:
        conditions, wanted_at = self._conditions, self._env.now
        yield self._env.timeout(conditions.boot)
        self._booting -= 1
        slow = self._random.random() < conditions.slow_share
        machine = Machine(next(self._numbers), conditions.slow_factor if slow else 1.0, wanted_at)
        self._standing[machine.node] = machine
        self._with_room[machine] = None
        self._welcome()
        self._note_vacancy(machine)
        if conditions.interruptions:
            yield self._env.timeout(self._random.exponential(1 / conditions.losses_per_second))
            if machine.node in self._standing:
                self._tally.interruptions += 1
                self.take_away(machine)

    def _leave_if_idle(self, machine: Machine, vacancy: int) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(self._conditions.idle)
        idle = machine.empty_since is not None and machine.vacancies == vacancy
        if idle and machine.node in self._standing:
            self.take_away(machine)

    def take_away(self, machine: Machine) -> None:
        """It is gone, with all that is on it."""
        del self._standing[machine.node]
        self._with_room.pop(machine, None)
        self._tally.machine_seconds += self._env.now - machine.wanted_at
        for tenant in list(machine.tenants):
            tenant.machine_lost()
        machine.tenants.clear()
