"""rayxkd: which pretrained classifier teaches your task best, without training a student."""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
