"""The actor of every pool: one share of a machine, on which another process does the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rayxkd.fleet.child import Share
from rayxkd.fleet.machines import this_node
from rayxkd.fleet.memory import share_of_node
from rayxkd.fleet.outcome import Outcome
from rayxkd.fleet.parcel import Parcel
from rayxkd.fleet.plan import WorkerPlan
from rayxkd.fleet.supervisor import Orders, Supervisor


@dataclass(frozen=True)
class MemoryLimit:
    """What a worker without a GPU may take; with one, whose drivers map far more, it is not bound.

    Attributes:
        gibibytes: ``None`` for an equal share of the machine's.
    """

    gibibytes: float | None = None

    def here(self, plan: WorkerPlan) -> int | None:
        """The same for this process, which is an actor of Ray's, in bytes."""
        import ray

        if plan.gpus:
            return None
        if self.gibibytes is None:
            return share_of_node(ray, this_node(), plan.cpus)
        return int(self.gibibytes * 2**30)


@dataclass(frozen=True)
class WorkerOrders:
    """What an actor is for.

    Attributes:
        plan: its share of the machines.
        memory: what a process that does jobs may take; ``None`` sets no bound.
        timeout: seconds for one job; ``None`` for no limit.
        modules: what jobs import.
    """

    plan: WorkerPlan
    memory: MemoryLimit | None = None
    timeout: float | None = None
    modules: Sequence[str] = ()


class WorkerActor:
    """Has one job after another done, and outlives all of them."""

    def __init__(self, orders: WorkerOrders, parcel: Parcel) -> None:
        """Begin.

        Args:
            orders: what it is for.
            parcel: the runner's class and the arguments after its seat.

        Raises:
            StartError: the runner cannot be made.
        """
        plan = orders.plan
        memory = None if orders.memory is None else orders.memory.here(plan)
        share = Share(plan.cpus, on_gpu=bool(plan.gpus), memory=memory)
        # What is imported may look for GPUs, and then no process that is forked could use them.
        modules = () if plan.gpus else orders.modules
        with parcel.on_disk() as packed:
            self._supervisor = Supervisor(Orders(packed, share, orders.timeout, modules))

    def ready(self) -> None:
        """Answers once jobs can be done."""

    def run(self, job: bytes, upcoming: bytes | None = None) -> Outcome:
        """Have a job done.

        Args:
            job: pickled.
            upcoming: what comes next, for which the runner prepares meanwhile.

        Raises:
            StartError: there is no process any more that could do it.
        """
        return self._supervisor.do(job, upcoming)
