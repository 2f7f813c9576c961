"""Options that all commands have whose work Ray actors do."""

# Annotations are no strings here: in a dataclass that inherits the options they would be looked up
# in its own module.

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from rayxkd.errors import UserError

if TYPE_CHECKING:
    from rayxkd.fleet.runners import Limits

# They are told after what a command is about.
_WORKERS = Parameter(group=Group("Workers", sort_key=1))


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How many workers there are to be, and what each and its teachers may take.

    Attributes:
        workers: How many teachers at a time; by default what the machines hold, and on a cluster
            that grows one for four teachers; 0 works in this process, without Ray.
        cpus_per_worker: Processors, and so threads, for each worker; by default an equal share.
        gpus_per_worker: GPUs for each worker, may be 1/n; by default, where there are any, so much
            that the largest teacher fits.
        memory_per_worker: GiB of memory that a worker without a GPU may take; by default an equal
            share of the machine's.
        timeout: The longest that one teacher may take, such as 90s or 1h.
        wait: How long to wait where no machine of the cluster is free for a worker, such as 1h.
    """

    workers: Annotated[int | None, _WORKERS] = None
    cpus_per_worker: Annotated[int | None, _WORKERS] = None
    gpus_per_worker: Annotated[float | None, _WORKERS] = None
    memory_per_worker: Annotated[float | None, _WORKERS] = None
    timeout: Annotated[timedelta | None, _WORKERS] = timedelta(minutes=30)
    wait: Annotated[timedelta, _WORKERS] = timedelta(minutes=30)

    def check_workers(self) -> None:
        """Refuse numbers that cannot be right.

        Raises:
            UserError: the first that is wrong.
        """
        check_positive(
            {
                "cpus-per-worker": self.cpus_per_worker,
                "memory-per-worker": self.memory_per_worker,
                "wait": self.wait.total_seconds(),
                "timeout": None if self.timeout is None else self.timeout.total_seconds(),
            }
        )
        if self.workers is not None and self.workers < 0:
            raise UserError(f"--workers must be 0 (in this process) or more, not {self.workers}")
        check_gpu_share(self.gpus_per_worker)

    def limits(self, weights_bytes: int) -> "Limits":
        """The same for a pool.

        Args:
            weights_bytes: of the largest teacher.
        """
        from rayxkd.fleet.runners import Limits  # --help needs no pool
        from rayxkd.fleet.worker import MemoryLimit

        return Limits(
            workers=self.workers,
            cpus=self.cpus_per_worker,
            gpus=self.gpus_per_worker,
            weights_bytes=weights_bytes,
            memory=MemoryLimit(self.memory_per_worker),
            timeout=None if self.timeout is None else self.timeout.total_seconds(),
            wait=self.wait.total_seconds(),
        )


def check_positive(values: dict[str, float | None]) -> None:
    """Refuse numbers that are not above zero.

    Args:
        values: by the name of the option; ``None`` is right.

    Raises:
        UserError: the first that is wrong.
    """
    for name, value in values.items():
        if value is not None and not value > 0:
            raise UserError(f"--{name} must be above zero, not {value:g}")


def check_gpu_share(share: float | None) -> None:
    """GPU shares must divide a GPU or be whole: Ray leaves remnants of others unused for ever.

    Raises:
        UserError: another share.
    """
    if share is None or share == 0:
        return
    whole = share if share >= 1 else 1 / share
    if share < 0 or abs(whole - round(whole)) > 0.01 * whole:
        raise UserError(
            f"--gpus-per-worker {share:g} must be 0, a whole number, or one n-th of a GPU "
            "(0.5, 0.33, 0.25, ...)"
        )
