"""Machines: joining or starting Ray, what it holds, and having work done by its actors."""

from __future__ import annotations

from rayxkd.fleet.actor_pool import ActorPool
from rayxkd.fleet.child import RunnerClass, Seat
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.plan import WorkerPlan, plan_workers
from rayxkd.fleet.pool import Finished, Pool, SerialPool
from rayxkd.fleet.runners import Limits, runner_pool
from rayxkd.fleet.worker import MemoryLimit

__all__ = [
    "ActorPool",
    "Cluster",
    "Finished",
    "Limits",
    "MemoryLimit",
    "Pool",
    "RunnerClass",
    "Seat",
    "SerialPool",
    "WorkerPlan",
    "plan_workers",
    "runner_pool",
]
