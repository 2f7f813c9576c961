"""Who is at work in an output directory: a note with a heartbeat, on any file system.

Object stores have no locks. So a run writes a note and renews it; another run that finds a note
refuses while it is renewed, and takes its place once it is not.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

from rayxkd.errors import UserError
from rayxkd.storage import Storage

LEASE_FILE = "running.json"
# Seconds between two renewals; a note that was not renewed for three of them belongs to nobody.
_EVERY = 10.0
_LOST_AFTER = 3


@dataclass(frozen=True)
class _Note:
    """Who wrote the note.

    Attributes:
        run: of every run another.
        machine: where process numbers mean the same.
        process: its number.
        started: when that process began, in seconds since 1970: numbers are used again.
        beat: grows with each renewal.
    """

    run: str
    machine: str
    process: int
    started: float
    beat: int = 0

    @classmethod
    def own(cls) -> _Note:
        return cls(uuid.uuid4().hex, _machine(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def read(cls, content: bytes) -> _Note | None:
        """That of another run; ``None`` where it is damaged."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None

    def is_of_this_machine(self) -> bool:
        return self.machine == _machine()

    def is_alive(self) -> bool:
        """Whether its process runs; only for one of this machine."""
        try:
            began = psutil.Process(self.process).create_time()
        except psutil.NoSuchProcess:
            return False
        return bool(abs(began - self.started) < 1)

    def described(self) -> str:
        return f"process {self.process} on {self.machine.split()[0]}"


class Lease:
    """The right to write in a directory, for as long as the context lasts."""

    def __init__(
        self,
        storage: Storage,
        kind: str,
        *,
        tell: Callable[[str], None] = lambda _: None,
        every: float = _EVERY,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """Nothing is written before the context begins.

        Args:
            storage: the directory.
            kind: what works there, for the message: a scan.
            tell: is told a line where it takes a while to see whether another run is at work.
            every: seconds between two renewals.
            wait: how to let time pass.
        """
        self._storage, self._kind, self._tell = storage, kind, tell
        self._every, self._wait = every, wait
        self._note = _Note.own()
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._taken_by: _Note | None = None

    def __enter__(self) -> Self:
        """Take the directory.

        Raises:
            UserError: another run is at work in it, or it cannot be written.
        """
        try:
            self._check_free()
            self._write()
            self._check_own()
        except OSError as error:
            raise UserError(f"--out {self._storage.url} cannot be written: {error}") from error
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._renewer.join()
        if self._taken_by is None:
            try:
                if self._read_run() == self._note.run:
                    self._storage.remove(LEASE_FILE)
            except OSError:
                pass  # it will be seen that nobody renews it

    def check(self) -> None:
        """Raises where another run has taken the directory, such as after this one slept.

        Raises:
            UserError: it has.
        """
        if self._taken_by is not None:
            raise UserError(
                f"another {self._kind} has taken --out {self._storage.url} "
                f"({self._taken_by.described()}): what this one finished is kept"
            )

    def _check_free(self) -> None:
        """A note of this machine tells at once whether its process runs; others are watched."""
        found = self._read()
        if found is None:
            return
        if found.is_of_this_machine():
            if found.is_alive():
                raise self._refusal(found)
            return
        self._tell(
            f"--out was left by {found.described()}: looking for {_LOST_AFTER * self._every:g} s "
            f"whether that {self._kind} is still at work"
        )
        for _ in range(_LOST_AFTER):
            self._wait(self._every)
            now = self._read()
            if now is None:
                return
            if now != found:
                raise self._refusal(now)

    def _check_own(self) -> None:
        """Where two take it at the same moment, the one whose note stays has it."""
        if not self._storage.is_local:
            self._wait(min(self._every, 1.0))
        now = self._read()
        if now is not None and now.run != self._note.run:
            raise self._refusal(now)

    def _renew(self) -> None:
        while not self._over.wait(self._every):
            try:
                now = self._read()
                if now is not None and now.run != self._note.run:
                    self._taken_by = now
                    return
                self._write()
            except OSError:
                continue  # a moment without network is no reason to stop

    def _write(self) -> None:
        note = asdict(self._note) | {"beat": self._note.beat + 1}
        self._note = _Note(**note)
        self._storage.write(LEASE_FILE, json.dumps(note).encode())

    def _read_run(self) -> str | None:
        found = self._read()
        return None if found is None else found.run

    def _read(self) -> _Note | None:
        return _read_note(self._storage)

    def _refusal(self, found: _Note) -> UserError:
        return UserError(
            f"another {self._kind} is at work in --out {self._storage.url} "
            f"({found.described()}): wait for it, stop it, or give another --out"
        )


class Pulse:
    """Whether the run whose note lies in a directory is still at work, for whoever looks on."""

    def __init__(self, storage: Storage, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is read yet.

        Args:
            storage: the directory.
            clock: seconds that pass.
        """
        self._storage, self._clock = storage, clock
        self._note: _Note | None = None
        self._since = 0.0

    def has_stopped(self) -> bool:
        """Whether nobody is at work: there is no note, or nobody renews it.

        A process of this machine tells at once; another's note is watched for some looks first.
        """
        note = _read_note(self._storage)
        if note is None:
            return True
        if note.is_of_this_machine():
            return not note.is_alive()
        if note != self._note:
            self._note, self._since = note, self._clock()
        return self._clock() - self._since > _LOST_AFTER * _EVERY


def _read_note(storage: Storage) -> _Note | None:
    storage.refresh()
    if not storage.exists(LEASE_FILE):
        return None
    try:
        return _Note.read(storage.read(LEASE_FILE))
    except FileNotFoundError:  # removed between the two
        return None


def _machine() -> str:
    """A name of the machine, and of the processes that see one another on it."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        space = "pid"
    return f"{socket.gethostname()} {space}"
