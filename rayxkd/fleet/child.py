"""The process that does jobs, and may come to any end."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

from rayxkd.fleet.memory import MemoryGuard, keep_freed
from rayxkd.fleet.outcome import Raised, Returned
from rayxkd.fleet.parcel import Mapped

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
class Share:
    """What a process may take of its machine.

    Attributes:
        cpus: threads.
        on_gpu: compute on a GPU if there is one.
        memory: bytes on top of what it has when it begins; ``None`` for no bound.
    """

    cpus: int
    on_gpu: bool = False
    memory: int | None = None


@dataclass(frozen=True)
class Answer:
    """What comes of one job.

    Attributes:
        outcome: how it ended.
        is_worn: memory has grown, whatever was given back: the process is to be replaced.
    """

    outcome: Returned | Raised
    is_worn: bool = False


READY = "ready"


def serve(connection: Connection, parcel: Mapped, share: Share) -> None:
    """Tell that the runner is there, or why not, and then do one job after another.

    Args:
        connection: says each job, and the one after it for which the runner prepares meanwhile, as
            pickled objects; is told an :class:`Answer`.
        parcel: the runner's class and the arguments after its seat.
        share: what this process may take.
    """
    keep_freed()
    try:
        runner, guard = _begin(parcel, share)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send(READY)
    ahead = ThreadPoolExecutor(1, "ahead")
    while True:
        try:
            job, upcoming = connection.recv()
        except EOFError:
            return
        if upcoming is not None:
            ahead.submit(runner.prepare, pickle.loads(upcoming))
        connection.send(Answer(_done(runner, job), guard.is_worn()))


def _begin(parcel: Mapped, share: Share) -> tuple[Any, MemoryGuard]:
    import torch

    runner, shared = parcel.open()
    guard = MemoryGuard.begin(share.memory)
    torch.set_num_threads(share.cpus)
    device = "cuda" if share.on_gpu and torch.cuda.is_available() else "cpu"
    return runner(Seat(torch.device(device), guard.told), *shared), guard


def _done(runner: Any, job: bytes) -> Returned | Raised:
    try:
        return Returned(pickle.dumps(runner.run(pickle.loads(job))))
    except Exception as error:
        return Raised.of(error)
