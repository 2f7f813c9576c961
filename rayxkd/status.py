"""How the assessment of a teacher ended."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How the assessment of one teacher ended."""

    OK = "ok"
    ELIMINATED = "eliminated"
    UNSUPPORTED = "unsupported"
    UNTRUSTED = "untrusted"
    INVALID = "invalid"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
