"""How many actors, and what each one gets."""

from __future__ import annotations

from dataclasses import dataclass

from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Resources


@dataclass(frozen=True)
class WorkerPlan:
    """The actors of a scan.

    Attributes:
        workers: how many.
        cpus: processors for each, whole: also the threads that it computes with.
        gpus: share of a GPU for each.
    """

    workers: int
    cpus: int
    gpus: float


def plan_workers(
    teachers: int,
    found: Resources,
    *,
    workers: int | None = None,
    cpus_per_worker: int | None = None,
    gpus_per_worker: float | None = None,
) -> WorkerPlan:
    """Fill the machines: one actor a GPU share, or one a processor where there are no GPUs.

    Args:
        teachers: how many are to be assessed; there are never more actors.
        found: what the cluster holds.
        workers: wish of the user; more than fit are started as places become free.
        cpus_per_worker: wish of the user; ``None`` takes an equal share.
        gpus_per_worker: wish of the user; ``None`` takes one GPU where there are any.

    Raises:
        UserError: more is asked for one actor than the cluster holds.
    """
    share = found.gpu_share(gpus_per_worker)
    if share > found.gpus and not found.may_grow:
        raise UserError(
            f"--gpus-per-worker {share:g}: the cluster has {found.gpus:g} GPU(s); "
            "use 0 to run on CPUs"
        )
    places = int(found.gpus / share + 1e-6) if share else int(found.cpus) // (cpus_per_worker or 1)
    count = max(1, min(teachers, workers or max(1, places)))
    # On several nodes an actor cannot have more processors than one node has.
    most = max(1, int(found.cpus) // found.nodes)
    if cpus_per_worker is not None and cpus_per_worker > found.cpus and not found.may_grow:
        raise UserError(
            f"--cpus-per-worker {cpus_per_worker}: the cluster has {found.cpus:g} processor(s)"
        )
    cpus = cpus_per_worker or max(1, min(int(found.cpus) // count, most))
    return WorkerPlan(count, cpus, share)
