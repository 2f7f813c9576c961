"""Jobs of a study, done in this process or by Ray actors that fill the machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from rayxkd.errors import UserError
from rayxkd.fleet.child import RunnerClass
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.pool import Finished
from rayxkd.fleet.runners import Limits, runner_pool

J = TypeVar("J")


def run_jobs(
    jobs: Sequence[J],
    runner: RunnerClass,
    shared: Sequence[Any],
    cluster: Cluster,
    workers: int | None,
) -> Iterator[Finished[J]]:
    """Do jobs in parallel and yield each as it ends.

    Args:
        jobs: in the order in which they are begun.
        runner: a class at the top level of a module.
        shared: arguments of its constructor after the seat; stored once for all actors.
        cluster: whose actors work.
        workers: how many at a time; ``None`` fills the cluster, 0 works in this process.

    Raises:
        UserError: a job failed; what ended before it has been yielded.
    """
    if not jobs:
        return
    pool = runner_pool(len(jobs), runner, shared, cluster, Limits(workers=workers))
    for finished in pool.run(jobs, lambda: True):
        if finished.failure:
            raise UserError(
                f"{finished.job} failed: {finished.reason}; run the same again to go on"
            )
        yield finished
