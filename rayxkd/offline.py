"""Whether anything may be downloaded; one variable holds for all libraries."""

from __future__ import annotations

import os

OFFLINE_VARIABLE = "HF_HUB_OFFLINE"


def is_offline() -> bool:
    """Whether only what is cached may be used."""
    return os.environ.get(OFFLINE_VARIABLE, "").upper() in ("1", "ON", "YES", "TRUE")
