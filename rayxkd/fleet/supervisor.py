"""A process that imports what jobs need, once, and forks another that does them.

Whatever a job does to the process that does it, the next one is there in milliseconds, not in the
many seconds that PyTorch and its libraries take to be imported. The supervisor runs nothing of a
job and starts no thread, so forking it is safe, and what it imported lies in memory once for all
that it forks.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from rayxkd.fleet.child import READY, Share, serve
from rayxkd.fleet.outcome import Ended, Outcome, Overdue, StartError
from rayxkd.fleet.parcel import Mapped, Packed

_PR_SET_PDEATHSIG = 1
# Elsewhere, libraries of the system do not survive a fork.
_METHOD = "fork" if sys.platform == "linux" else "spawn"
# Processes that end at their start, one after another: one or two may have been killed.
_STARTS = 3


@dataclass(frozen=True)
class Orders:
    """What a supervisor is for.

    Attributes:
        parcel: the runner's class and the arguments after its seat.
        share: what each process that it forks may take.
        timeout: seconds for one job, once there is a process for it; ``None`` for no limit.
        modules: what is imported beforehand; those that cannot be are left to the jobs.
    """

    parcel: Packed
    share: Share
    timeout: float | None = None
    modules: Sequence[str] = ()


class Supervisor:
    """A supervisor in a process of its own, for the process that started it; with it, it ends."""

    def __init__(self, orders: Orders) -> None:
        """Start it, and wait for the first process that does jobs.

        Raises:
            StartError: that did not become ready.
        """
        self._connection, theirs = multiprocessing.Pipe()
        descriptor = theirs.fileno()
        run = f"from rayxkd.fleet.supervisor import main; main({descriptor})"
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", run], pass_fds=[descriptor], env=os.environ | paths
            )
        self._ask(orders)

    def do(self, job: bytes, upcoming: bytes | None = None) -> Outcome:
        """Have a job done.

        Args:
            job: pickled.
            upcoming: what comes next, for which the runner prepares meanwhile.

        Raises:
            StartError: there is no process that could do it.
        """
        outcome: Outcome = self._ask((job, upcoming))
        return outcome

    def _ask(self, question: Any) -> Any:
        try:
            self._connection.send(question)
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise StartError("the process that starts workers ended") from error
        if isinstance(answer, StartError):
            raise answer
        return answer


class _Child:
    """A process that does jobs, from the supervisor's side."""

    def __init__(self, parcel: Mapped, share: Share, actor: Connection) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        context: Any = multiprocessing.get_context(_METHOD)
        arguments = (self._connection, actor, theirs, parcel, share)
        self._process: BaseProcess = context.Process(target=_live, args=arguments)
        self._process.start()
        theirs.close()
        self._actor = actor
        self._is_ready = False

    def be_ready(self) -> None:
        """Wait until it can do jobs.

        Raises:
            EOFError: it ended.
            StartError: it says why it cannot.
        """
        if not self._is_ready:
            told = self._receive(None)
            if told != READY:
                raise StartError(told)
            self._is_ready = True
        elif not self._process.is_alive():  # killed between two jobs: neither is to blame
            raise EOFError

    def do(self, job: tuple[bytes, bytes | None], timeout: float | None) -> tuple[Outcome, bool]:
        """Have a job done; tells how it ended, and whether the process goes on or was ended."""
        try:
            self._connection.send(job)
            answer = self._receive(timeout)
        except TimeoutError:
            self.end()
            return Overdue(), False
        except (EOFError, OSError):
            return self.ended(), False
        if answer.is_worn:
            self.end()
        return answer.outcome, not answer.is_worn

    def ended(self) -> Ended:
        """How the process ended, which closed its connection."""
        self._process.join(1.0)  # it may be at its end, or be no more than mute
        self.end()
        return Ended(self._process.exitcode or 0)

    def end(self) -> None:
        """End the process, unless it has ended by itself."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _receive(self, timeout: float | None) -> Any:
        """What it says next.

        Raises:
            TimeoutError: it said nothing in time.
            SystemExit: nobody waits for it any more.
        """
        found = wait([self._connection, self._actor], timeout)
        if self._connection in found:
            return self._connection.recv()
        if self._actor in found:
            raise SystemExit
        raise TimeoutError


class _Nursery:
    """Always one process that does jobs, and another when that is no good any more."""

    def __init__(self, orders: Orders, actor: Connection) -> None:
        self._orders, self._actor = orders, actor
        self._parcel = orders.parcel.mapped()
        _import(orders.modules)
        self._child = self._fork()

    def _fork(self) -> _Child:
        return _Child(self._parcel, self._orders.share, self._actor)

    def serve(self) -> None:
        """Tell that there is a process, and then do jobs, until there is none or nobody asks."""
        try:
            self._ready()
            self._actor.send(None)
            while True:
                job = self._actor.recv()
                self._ready()
                self._actor.send(self._do(job))
        except StartError as error:
            self._actor.send(error)
        finally:
            self._child.end()

    def _ready(self) -> None:
        """See that there is a process that can do jobs.

        Raises:
            StartError: there is none, and will be none.
        """
        for _ in range(_STARTS):
            try:
                self._child.be_ready()
            except (EOFError, ConnectionError):
                how = self._child.ended().how
                self._child = self._fork()
            else:
                return
        raise StartError(f"workers end at their start: {how}")

    def _do(self, job: tuple[bytes, bytes | None]) -> Outcome:
        outcome, goes_on = self._child.do(job, self._orders.timeout)
        if not goes_on:
            self._child = self._fork()  # it is ready when the next job comes
        return outcome


def main(descriptor: int) -> None:
    """Serve whoever holds the other end of a connection, until it is closed.

    Args:
        descriptor: of this end.
    """
    with Connection(descriptor) as actor, suppress(EOFError, ConnectionError):
        _Nursery(actor.recv(), actor).serve()


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        with suppress(Exception):  # whoever needs it fails by itself, and says so
            importlib.import_module(module)
    # What is there now, no collection of a child is to look at, and so copy.
    gc.collect()
    gc.freeze()


def _live(
    supervisors: Connection, actors: Connection, own: Connection, parcel: Mapped, share: Share
) -> None:
    """What a child does: it keeps no other end of a connection, and ends with its supervisor."""
    supervisors.close()
    actors.close()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    serve(own, parcel, share)
