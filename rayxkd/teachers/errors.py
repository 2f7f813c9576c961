"""The error that costs a teacher its row, never the scan."""

from __future__ import annotations

import re

from rayxkd.secrets import without_secrets
from rayxkd.status import Status


class TeacherError(Exception):
    """A teacher that cannot be assessed.

    Attributes:
        status: the row's status.
        reason: why, in a sentence that its owner understands; one line that any table can hold,
            whatever names of other people's files are in it.
    """

    def __init__(self, status: Status, reason: str) -> None:
        self.status = status
        shown = without_secrets(reason.encode("utf-8", "replace").decode())
        self.reason = shortened(shown, 500)
        super().__init__(status, self.reason)


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception as one line of bounded length, without secrets of addresses."""
    return shortened(without_secrets(str(error)), limit) or type(error).__name__


def memory_refused(error: BaseException | None) -> str:
    """What it says where memory was refused, in a sentence; empty for any other error.

    torch has no class of its own for the memory of a CPU.
    """
    text = str(error)
    asked = re.search(r"tried to allocate (\d+) bytes", text)
    if asked:
        return f"it asked for {int(asked[1]) / 2**30:.3g} GiB more memory, which was refused"
    if isinstance(error, MemoryError) or "std::bad_alloc" in text or "allocate memory" in text:
        return "it asked for more memory, which was refused"
    return ""


# What ends one teacher and nothing else. Of runtime errors only those of memory do.
FAILURES = (TeacherError, MemoryError, RuntimeError)


def teachers_fault(error: Exception, memory_bound: str = "") -> TeacherError:
    """Why a teacher failed, as status and reason.

    Args:
        error: one of ``FAILURES``.
        memory_bound: what the process may take, in words; empty where there is no bound.

    Raises:
        Exception: ``error`` itself, where it is no teacher's fault.
    """
    if isinstance(error, TeacherError):
        status, reason = error.status, error.reason
    elif refused := memory_refused(error):
        status, reason = Status.OUT_OF_MEMORY, refused
    else:
        raise error
    if status is Status.OUT_OF_MEMORY and memory_bound:
        reason = f"{reason}; a worker may take {memory_bound} (--memory-per-worker)"
    return TeacherError(status, reason)


def shortened(text: str, limit: int) -> str:
    """A text as one line of bounded length that a terminal can show."""
    text = " ".join(text[: 20 * limit].split())
    text = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
