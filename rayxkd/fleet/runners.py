"""Runners in this process, or one in each of as many Ray actors as the machines hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rayxkd.fleet.actor_pool import ActorPool
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.machines import resources, this_node
from rayxkd.fleet.plan import WorkerPlan, plan_workers
from rayxkd.fleet.pool import Pool, SerialPool

if TYPE_CHECKING:
    import torch


class RunnerClass(Protocol):
    """Makes what does the jobs, in the process where they are done."""

    def __call__(self, device: torch.device, *shared: Any) -> Any:
        """A runner: an object with ``run(job)``."""


def runner_pool(
    count: int,
    runner: RunnerClass,
    shared: Sequence[Any],
    cluster: Cluster,
    workers: int | None,
) -> Pool[Any]:
    """A pool of runners for so many jobs.

    Args:
        count: how many jobs there are.
        runner: a class at the top level of a module.
        shared: arguments of its constructor after the device; stored once for all actors.
        cluster: whose actors work.
        workers: how many at a time; ``None`` fills the cluster, 0 works in this process.
    """
    if workers == 0:
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return SerialPool(runner(device, *shared))
    ray = cluster.connect()
    plan = plan_workers(count, resources(ray), workers=workers)
    stored = [ray.put(argument) for argument in shared]
    actor = ray.remote(_Actor).options(num_cpus=plan.cpus, num_gpus=plan.gpus)
    return ActorPool(ray, lambda: actor.remote(runner, plan, *stored), plan.workers, timeout=None)


class _Actor:
    def __init__(self, runner: RunnerClass, plan: WorkerPlan, *shared: Any) -> None:
        import torch

        torch.set_num_threads(plan.cpus)
        device = torch.device("cuda" if plan.gpus and torch.cuda.is_available() else "cpu")
        self._runner = runner(device, *shared)

    def ready(self) -> str:
        return this_node()

    def run(self, job: Any) -> Any:
        return self._runner.run(job)
