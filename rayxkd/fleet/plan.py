"""How many actors, and what each one gets."""

from __future__ import annotations

from dataclasses import dataclass

from rayxkd.errors import UserError
from rayxkd.fleet.machines import Machine, Resources

# So many jobs are worth the start of one more machine.
_JOBS_A_MACHINE = 4
# More processes than this on one GPU wait for one another.
_MOST_ON_A_GPU = 8
_GIBIBYTE = 2**30


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

    @property
    def needs(self) -> str:
        """What one actor takes, in words."""
        gpus = f" and {self.gpus:.3g} GPU(s)" if self.gpus else ""
        return f"{self.cpus} processor(s){gpus}"


def plan_workers(
    jobs: int,
    found: Resources,
    *,
    workers: int | None = None,
    cpus_per_worker: int | None = None,
    gpus_per_worker: float | None = None,
    weights_bytes: int | None = None,
) -> WorkerPlan:
    """Fill the machines: one actor a GPU share, or one a processor where there are no GPUs.

    On a cluster that may grow, actors that have no place yet are what its autoscaler acts upon:
    there is one for every four jobs, as far as the fleet has places for them.

    Args:
        jobs: how many are to be done; there are never more actors.
        found: what the cluster holds.
        workers: wish of the user; more than fit are started as places become free.
        cpus_per_worker: wish of the user; ``None`` takes an equal share.
        gpus_per_worker: wish of the user; ``None`` takes one where there are any, or less where
            several of the largest model fit.
        weights_bytes: of the largest model; ``None`` where it is not known.

    Raises:
        UserError: more is asked for one actor than any machine holds.
    """
    share = gpus_per_worker
    if share is None:
        share = _share_for(weights_bytes, found) if found.has_gpus else 0.0
    _check_fits(found, cpus_per_worker, share)
    count = max(1, min(jobs, workers or _wish(jobs, found, cpus_per_worker or 1, share)))
    return WorkerPlan(count, cpus_per_worker or found.cpus_each(count, share), share)


def _wish(jobs: int, found: Resources, cpus: int, gpus: float) -> int:
    now = sum(machine.places(cpus, gpus) for machine in found.machines)
    if not found.may_grow:
        return now
    wanted = max(now, -(-jobs // _JOBS_A_MACHINE))
    return wanted if found.fleet is None else min(wanted, found.places(cpus, gpus))


def _share_for(weights_bytes: int | None, found: Resources) -> float:
    """One n-th of a GPU, so that n processes with a model of this size find room on any of them.

    Ours, with a margin: the process itself and its work take 2 GiB, the model six times its
    weights (a copy while it is loaded, and what it computes for a batch, which is halved where it
    does not fit).
    """
    if weights_bytes is None:
        return 1.0
    with_gpus = [machine for machine in found.kinds if machine.gpus]
    need = 2 + 6 * weights_bytes / _GIBIBYTE
    by_memory = min(machine.gpu_gibibytes for machine in with_gpus) / need
    by_cpus = min(machine.cpus / machine.gpus for machine in with_gpus)
    return 1 / max(1, min(int(by_memory), int(by_cpus), _MOST_ON_A_GPU))


def _check_fits(found: Resources, cpus: int | None, gpus: float) -> None:
    """Refuse what Ray would wait for without end.

    Raises:
        UserError: no machine holds one actor.
    """
    if found.joined and found.fleet is None:  # a machine that holds it may come, for all we know
        return
    if any(machine.places(cpus or 1, gpus) for machine in found.kinds):
        return
    if found.fleet is not None:
        kinds = ", ".join(sorted({_described(machine) for machine in found.kinds}))
        raise UserError(
            f"no machine of the cluster holds a worker with {cpus or 1} processor(s) and {gpus:g} "
            f"GPU(s); its kinds are {kinds}: ask for less with --cpus-per-worker or "
            "--gpus-per-worker"
        )
    if gpus > found.gpus:
        raise UserError(
            f"--gpus-per-worker {gpus:g}: the cluster has {found.gpus:g} GPU(s); "
            "use 0 to run on CPUs"
        )
    if cpus is not None:
        raise UserError(f"--cpus-per-worker {cpus}: the cluster has {found.cpus:g} processor(s)")


def _described(machine: Machine) -> str:
    return f"{machine.cpus:g} processor(s) with {machine.gpus:g} GPU(s)"
