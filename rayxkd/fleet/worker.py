"""The actor of every pool: a runner in a process of its own, on one share of the machines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rayxkd.fleet.actor_pool import Worn
from rayxkd.fleet.machines import this_node
from rayxkd.fleet.memory import MemoryGuard, keep_freed, share_of_node
from rayxkd.fleet.plan import WorkerPlan

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Seat:
    """Where a runner works.

    Attributes:
        device: what it computes on.
        memory_bound: what its process may take, in words; empty where there is no bound.
    """

    device: torch.device
    memory_bound: str = ""


class RunnerClass(Protocol):
    """Makes what does the jobs, in the process where they are done."""

    def __call__(self, seat: Seat, *shared: Any) -> Any:
        """A runner: an object with ``run(job)``.

        It may have ``prepare(job)`` too, which is called for the next job in another thread.
        """


@dataclass(frozen=True)
class MemoryLimit:
    """What a worker without a GPU may take; with one, whose drivers map far more, it is not bound.

    Attributes:
        gibibytes: ``None`` for an equal share of the machine's.
    """

    gibibytes: float | None = None

    def guard(self, plan: WorkerPlan) -> MemoryGuard:
        """Bind this process, which is an actor of Ray's."""
        import ray

        if plan.gpus:
            return MemoryGuard.begin(None)
        if self.gibibytes is None:
            return MemoryGuard.begin(share_of_node(ray, this_node(), plan.cpus))
        return MemoryGuard.begin(int(self.gibibytes * 2**30))


class WorkerActor:
    """Does one job after another; ``shared`` is read where it lies in Ray's object store."""

    def __init__(
        self, runner: RunnerClass, plan: WorkerPlan, memory: MemoryLimit | None, *shared: Any
    ) -> None:
        """Begin.

        Args:
            runner: a class at the top level of a module.
            plan: the worker's share of the machines.
            memory: what it may take; ``None`` sets no bound.
            shared: arguments of the runner after its seat.
        """
        import torch

        keep_freed()
        self._guard = None if memory is None else memory.guard(plan)
        torch.set_num_threads(plan.cpus)
        device = "cuda" if plan.gpus and torch.cuda.is_available() else "cpu"
        bound = self._guard.told if self._guard else ""
        self._runner = runner(Seat(torch.device(device), bound), *shared)
        self._ahead = ThreadPoolExecutor(1, "ahead")

    def ready(self) -> str:
        """Answers, with the node that it is on, once the process is up."""
        return this_node()

    def run(self, job: Any, upcoming: Any = None) -> Any:
        """Do a job; an actor whose memory has grown asks to be replaced.

        Args:
            job: what is to be done.
            upcoming: what comes next, which is prepared meanwhile.
        """
        if upcoming is not None:
            self._ahead.submit(self._runner.prepare, upcoming)
        done = self._runner.run(job)
        return Worn(done) if self._guard is not None and self._guard.is_worn() else done
