"""What a check finds, and how a check that goes wrong is itself a finding."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from rayxkd.secrets import HIDDEN, without_secrets

T = TypeVar("T")

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
# Shorter values are words that may stand anywhere.
_SECRET_LENGTH = 6
_LONGEST_REASON = 200


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at.
        state: how it ended.
        detail: what was found.
        mend: what to do about it, one imperative sentence; empty where there is nothing to do.
    """

    name: str
    state: State
    detail: str
    mend: str = ""

    def without_secrets(self) -> Check:
        """The same with the secrets of addresses and of the environment blotted out."""
        return replace(
            self, name=_blotted(self.name), detail=_blotted(self.detail), mend=_blotted(self.mend)
        )


def _blotted(text: str) -> str:
    shown = without_secrets(text)
    for name, value in os.environ.items():
        if len(value) >= _SECRET_LENGTH and _SECRET_NAME.search(name):
            shown = shown.replace(value, HIDDEN)
    return shown


def ok(name: str, detail: str) -> Check:
    """Build a check that found all well."""
    return Check(name, State.OK, detail)


def warning(name: str, detail: str, mend: str) -> Check:
    """Build a check that found what may be meant so."""
    return Check(name, State.WARNING, detail, mend)


def failed(name: str, detail: str, mend: str) -> Check:
    """Build a check that found what does not work."""
    return Check(name, State.FAILED, detail, mend)


def skipped(name: str, detail: str) -> Check:
    """Build a check that was not done, which is no fault."""
    return Check(name, State.SKIPPED, detail)


def guarded(
    name: str, mend: str, examine: Callable[..., Iterable[Check]], *arguments: Any
) -> Iterator[Check]:
    """Yield what ``examine(*arguments)`` finds; if it raises, that is one failed check more.

    Args:
        name: of that failed check.
        mend: of that failed check.
        examine: finds checks.
        arguments: of ``examine``.
    """
    try:
        yield from examine(*arguments)
    except Exception as error:
        yield failed(name, reason(error), mend)


def reason(error: BaseException) -> str:
    """What was raised, in one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, in a thread that is left behind if it takes too long.

    Raises:
        TimeoutError: it took longer.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]
