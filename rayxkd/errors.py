"""The one kind of error that a user can mend, and help with names that were mistyped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from rayxkd.secrets import without_secrets


class UserError(Exception):
    """Wrong input: one line that says what is wrong and how to mend it.

    Entry points print the message without a traceback and end with exit code 1. Whatever addresses
    are in it, their secrets are not.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Build the error for a name that is not known, with the nearest known ones.

    Args:
        kind: what the name should have been, in words, such as ``"ground cost"``.
        name: what the user gave.
        known: every name that would have been right.
    """
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return UserError(f"unknown {kind} '{name}': {hint}Known: {', '.join(names)}.")


def some_of(names: Sequence[str], shown: int = 3) -> str:
    """The first names, quoted, for a message: ``'a', 'b', 'c', ...``."""
    return ", ".join(map(repr, names[:shown])) + (", ..." if len(names) > shown else "")
