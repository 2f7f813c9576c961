"""How a job ended in the process that did it, in words that need none of the job's modules."""

from __future__ import annotations

import pickle
import signal
from dataclasses import dataclass
from typing import Any

MOST_LETTERS = 300


class StartError(Exception):
    """The process that does the jobs did not become ready."""


@dataclass(frozen=True)
class Returned:
    """It is done.

    Attributes:
        pickled: what came of it; whoever passes it on need not be able to read it.
    """

    pickled: bytes

    @property
    def value(self) -> Any:
        """What came of it."""
        return pickle.loads(self.pickled)


@dataclass(frozen=True)
class Raised:
    """It failed, and said why.

    Attributes:
        message: of its exception.
        is_memory: memory was refused.
        is_files: the operating system refused something, such as a file: it may be the machine's.
    """

    message: str
    is_memory: bool = False
    is_files: bool = False

    @classmethod
    def of(cls, error: Exception) -> Raised:
        """What is told of an exception."""
        message = str(error)[:MOST_LETTERS]
        return cls(message, isinstance(error, MemoryError), isinstance(error, OSError))


@dataclass(frozen=True)
class Ended:
    """Its process ended before it was done.

    Attributes:
        exit_code: of the process; below zero, the number of the signal that ended it.
    """

    exit_code: int

    @property
    def how(self) -> str:
        """In words."""
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        try:
            name = signal.Signals(-self.exit_code).name
        except ValueError:
            return f"signal {-self.exit_code}"
        return f"{signal.strsignal(-self.exit_code)} ({name})"


@dataclass(frozen=True)
class Overdue:
    """It was not done in time, and its process was ended."""


Outcome = Returned | Raised | Ended | Overdue
