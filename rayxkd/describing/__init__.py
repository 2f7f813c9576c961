"""Cards for bare weights files: what a file tells of itself, and what has to be told."""

from __future__ import annotations

from rayxkd.describing.settings import CardSettings

__all__ = ["CardSettings"]
