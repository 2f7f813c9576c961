"""Entries of a teacher's JSON files, each of the kind that it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.card import CARD_FILE
from rayxkd.teachers.errors import TeacherError, shortened
from rayxkd.teachers.listing import LARGEST_CARD, card_too_large

_LONGEST_TEXT = 200


def parse_entries(config: bytes | None) -> dict[str, Any]:
    """Parse a card's bytes, which must be a JSON object of a bounded size.

    Raises:
        TeacherError: ``invalid``.
    """
    if config is None:
        raise TeacherError(Status.INVALID, f"the folder has no {CARD_FILE}")
    if len(config) > LARGEST_CARD:
        raise card_too_large(CARD_FILE, len(config))
    try:
        entries = json.loads(config.decode("utf-8-sig"))
        if b"\\u" in config:  # half a character in an escape: no table can hold it
            json.dumps(entries, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid(f"is not JSON: {error}") from error
    if not isinstance(entries, dict):
        raise invalid("is not a JSON object")
    return entries


def numbers(entries: Mapping[str, Any], key: str, default: Sequence[float]) -> tuple[float, ...]:
    """The list of numbers under ``key``; raises `TeacherError` where it is none."""
    values = default if entries.get(key) is None else entries[key]
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise invalid(f"needs a list of numbers for '{key}', not {values!r}")
    return tuple(number(key, value) for value in values)


def number(key: str, value: Any) -> float:
    """``value`` as a float; raises `TeacherError` where it is no number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(f"needs numbers for '{key}', not {value!r}")
    return float(value)


def one_of(entries: Mapping[str, Any], key: str, default: str, known: Sequence[str]) -> str:
    """The name under ``key``; raises `TeacherError` where it is not ``known``."""
    value = str(entries.get(key) or default)
    if value not in known:
        raise TeacherError(
            Status.UNSUPPORTED, f"{CARD_FILE} has an {unknown_name(key, value, known)}"
        )
    return value


def whole(entries: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """The whole number under ``key``; raises `TeacherError` where it is out of its range."""
    value = entries.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise invalid(f"needs a '{key}' from {least} to {most}, not {value!r}")
    return value


def mapping(entries: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under ``key``, empty where there is none; raises `TeacherError`."""
    value = {} if entries.get(key) is None else entries[key]
    if not isinstance(value, dict):
        raise invalid(f"has a '{key}' that is not an object")
    return value


def share(value: Any) -> float | None:
    """A number in [0, 1], if it is one."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def text(value: Any) -> str | None:
    """A short text for a table."""
    return None if value is None else shortened(str(value), _LONGEST_TEXT)


def invalid(what: str) -> TeacherError:
    """The error of a card that ``what`` is wrong with."""
    return TeacherError(Status.INVALID, f"{CARD_FILE} {what}")
