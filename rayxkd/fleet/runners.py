"""Runners in this process, or one in each of as many Ray actors as the machines hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rayxkd.fleet.actor_pool import GRACE_SECONDS, ActorPool
from rayxkd.fleet.child import RunnerClass, Seat
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.machines import resources
from rayxkd.fleet.parcel import Parcel
from rayxkd.fleet.patience import Patience
from rayxkd.fleet.plan import plan_workers
from rayxkd.fleet.pool import Pool, SerialPool
from rayxkd.fleet.worker import MemoryLimit, WorkerActor, WorkerOrders


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many workers there may be, and what each and its jobs may take.

    Attributes:
        workers: how many at a time; ``None`` fills the cluster, 0 works in this process, where
            none of the other limits holds.
        cpus: processors, and so threads, of each; ``None`` for an equal share.
        gpus: of each; ``None`` for so much that ``weights_bytes`` fit, where there are any.
        weights_bytes: of the largest model; ``None`` where it is not known.
        memory: of each; ``None`` for no bound.
        timeout: seconds for one job; ``None`` for no limit.
        wait: seconds for which it is waited for a machine; ``None`` for ever.
    """

    workers: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    weights_bytes: int | None = None
    memory: MemoryLimit | None = None
    timeout: float | None = None
    wait: float | None = None


def runner_pool(
    count: int,
    runner: RunnerClass,
    shared: Sequence[Any],
    cluster: Cluster,
    limits: Limits,
    *,
    tell: Callable[[str], None] = lambda _: None,
    look_ahead: bool = False,
    modules: Sequence[str] = (),
) -> Pool[Any]:
    """A pool of runners for so many jobs.

    Args:
        count: how many jobs there are.
        runner: a class at the top level of a module.
        shared: arguments of its constructor after the seat; stored once for all actors.
        cluster: whose actors work.
        limits: how many, and what they may take.
        tell: hears of it where no machine comes.
        look_ahead: runners prepare for the next job during each.
        modules: what jobs import beside the runner's own: a worker imports it once, whatever
            becomes of the processes that do its jobs.
    """
    if limits.workers == 0:
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return SerialPool(runner(Seat(device), *shared))
    ray = cluster.connect()
    from ray import cloudpickle

    plan = plan_workers(
        count,
        resources(ray),
        workers=limits.workers,
        cpus_per_worker=limits.cpus,
        gpus_per_worker=limits.gpus,
        weights_bytes=limits.weights_bytes,
    )
    orders = WorkerOrders(
        plan, limits.memory, limits.timeout, ("torch", runner.__module__, *modules)
    )
    parcel = ray.put(Parcel.of((runner, tuple(shared))))
    actor = ray.remote(WorkerActor).options(
        num_cpus=plan.cpus, num_gpus=plan.gpus, max_restarts=0, max_task_retries=0
    )
    return ActorPool(
        ray,
        lambda: actor.remote(orders, parcel),
        plan.workers,
        limits.timeout,
        grace=GRACE_SECONDS,
        patience=None if limits.wait is None else Patience(plan.needs, limits.wait, tell),
        look_ahead=look_ahead,
        pack=cloudpickle.dumps,
    )
