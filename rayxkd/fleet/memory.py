"""A bound on the memory of a process, so that one job cannot take a machine's from all others."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GIBIBYTE = 2**30
# Parameters of mallopt(3) in glibc.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


@dataclass(frozen=True)
class MemoryGuard:
    """What a process may take on top of what it had.

    Attributes:
        limit: bytes; ``None`` sets no bound.
        before: bytes that counted towards the bound when it was set.
    """

    limit: int | None
    before: int = 0

    @classmethod
    def begin(cls, limit: int | None) -> MemoryGuard:
        """Set the bound for this process: what is asked for beyond it is refused.

        The kernel counts private memory that can be written (``RLIMIT_DATA``, Linux 4.7 and later):
        neither files that are mapped for reading nor memory that is shared with other processes,
        such as Ray's object store. Where there is no such bound, none is set.
        """
        before = _data_bytes()
        if limit is None or before is None:
            return cls(None)
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = before + limit
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
        return cls(limit, before)

    def is_worn(self) -> bool:
        """Whether half of the bound is taken between two jobs: what was never given back.

        Memory that is free is left to the next job where there is enough: given back to the kernel
        it would have to be asked for, and cleared, again. Heaps with holes that nothing large fits
        into count too: they leave less than half of the bound for a block in one piece.
        """
        if not self._half_is_taken():
            return False
        gc.collect()
        _give_back()
        return self._half_is_taken()

    def _half_is_taken(self) -> bool:
        if self.limit is None:
            return False
        return (_data_bytes() or 0) - self.before > self.limit / 2

    @property
    def told(self) -> str:
        """The bound in words."""
        return "" if self.limit is None else f"{self.limit / _GIBIBYTE:.3g} GiB"


def share_of_node(ray: Any, node: str, cpus: int) -> int | None:
    """The memory of a node for a worker with some of its processors, in bytes.

    Args:
        ray: the module, connected.
        node: its id.
        cpus: processors of the worker.
    """
    for found in ray.nodes():
        if found["NodeID"] == node:
            resources = found["Resources"]
            if resources.get("memory") and resources.get("CPU"):
                return int(resources["memory"] * min(1.0, cpus / resources["CPU"]))
    return None


def _data_bytes() -> int | None:
    """What counts towards ``RLIMIT_DATA``."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # no Linux
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("VmData:")]
    return int(sizes[0]) * 1024 if sizes else None


def keep_freed() -> None:
    """Have the C library keep what this process frees, and use it again.

    It gives every block of more than 32 MiB back to the kernel at once, which clears it when it is
    next asked for: the layers of a network do so all the time, and on a CPU up to half of a forward
    pass goes into it. With other C libraries nothing is changed.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(_MMAP_MAX, 0)
            libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def _give_back() -> None:
    """Have the C library return free memory to the kernel."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
