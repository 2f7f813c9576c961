"""Entries of a teacher's JSON files, each of the kind that it should be."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError, shortened
from rayxkd.teachers.listing import LARGEST_CARD, card_too_large

_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Entries:
    """The entries of one JSON object; every method raises `TeacherError` for one that is wrong.

    An entry of ``null`` counts as one that is not there.

    Attributes:
        file: where they stand, for the reason.
        values: by key.
    """

    file: str
    values: Mapping[str, Any]

    @classmethod
    def parse(cls, file: str, content: bytes | None) -> Entries:
        """Parse a file's bytes, which must be a JSON object of a bounded size.

        Raises:
            TeacherError: ``invalid``.
        """
        nothing = cls(file, {})
        if content is None:
            raise TeacherError(Status.INVALID, f"the folder has no {file}")
        if len(content) > LARGEST_CARD:
            raise card_too_large(file, len(content))
        try:
            entries = json.loads(content.decode("utf-8-sig"))
            if b"\\u" in content:  # half a character in an escape: no table can hold it
                json.dumps(entries, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise nothing.invalid(f"is not JSON: {error}") from error
        if not isinstance(entries, dict):
            raise nothing.invalid("is not a JSON object")
        return cls(file, entries)

    def get(self, key: str) -> Any:
        """The entry as it is, ``None`` where there is none."""
        return self.values.get(key)

    def numbers(self, key: str, default: Sequence[float]) -> tuple[float, ...]:
        """A list of numbers."""
        values = default if self.get(key) is None else self.get(key)
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise self.invalid(f"needs a list of numbers for '{key}', not {values!r}")
        return tuple(self._number(key, value) for value in values)

    def number(self, key: str, default: float) -> float:
        """A finite number."""
        value = self._number(key, default if self.get(key) is None else self.get(key))
        if not math.isfinite(value):
            raise self.invalid(f"needs a finite '{key}', not {value!r}")
        return value

    def whole(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number of a range."""
        value = default if self.get(key) is None else self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.invalid(f"needs a '{key}' from {least} to {most}, not {value!r}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = default if self.get(key) is None else self.get(key)
        if not isinstance(value, bool):
            raise self.invalid(f"needs true or false for '{key}', not {value!r}")
        return value

    def one_of(self, key: str, default: str, known: Sequence[str]) -> str:
        """A name that is known."""
        value = str(self.get(key) or default)
        if value not in known:
            error = unknown_name(key, value, known)
            raise TeacherError(Status.UNSUPPORTED, f"{self.file} has an {error}")
        return value

    def inner(self, key: str) -> Entries:
        """An object in the object; empty where there is none."""
        value = {} if self.get(key) is None else self.get(key)
        if not isinstance(value, dict):
            raise self.invalid(f"has a '{key}' that is not an object")
        return Entries(self.file, value)

    def share(self, key: str) -> float | None:
        """A number in [0, 1], if it is one."""
        value = self.get(key)
        return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None

    def text(self, key: str) -> str | None:
        """A text that is short enough for a table."""
        value = self.get(key)
        return None if value is None else shortened(str(value), _LONGEST_TEXT)

    def invalid(self, what: str) -> TeacherError:
        """The error of a file that ``what`` is wrong with."""
        return TeacherError(Status.INVALID, f"{self.file} {what}")

    def _number(self, key: str, value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.invalid(f"needs numbers for '{key}', not {value!r}")
        return float(value)
