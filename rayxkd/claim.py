"""Whose an output directory is: a note in it says what it holds and with what settings it began."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rayxkd.errors import UserError
from rayxkd.lease import LEASE_FILE
from rayxkd.secrets import recordable
from rayxkd.storage import Storage


@dataclass(frozen=True)
class Claim:
    """The note in one directory (path or any fsspec URL).

    Attributes:
        storage: the directory.
        file: the note.
        kind: what the directory holds: a leaderboard, a student, a search.
    """

    storage: Storage
    file: str
    kind: str

    def begin(
        self,
        settings: Mapping[str, Any],
        compare: Callable[[dict[str, Any]], None],
        *,
        fresh: bool = False,
        entries: Iterable[str] | None = None,
    ) -> None:
        """Check that the directory is free or was begun with the same settings, and note them.

        Args:
            settings: what the results depend on, JSON values by the name of their option.
            compare: raises a ``UserError`` where settings of an earlier run are others. Addresses
                are noted and compared without their secrets: a new password or a new signature
                makes no other setting.
            fresh: throw away what an earlier run left; never what is somebody else's.
            entries: what that is; by default every file.

        Raises:
            UserError: the directory holds something else, was begun with other settings, or cannot
                be written.
        """
        try:
            present = self._present()
            if present and not fresh:
                compare(self._settings())
                return
            for name in present if entries is None else entries:
                if name != self.file:  # it says whose the others are, until it is replaced
                    self.storage.remove(name)
            note = {"format": self._format, "settings": recordable(dict(settings))}
            self.storage.write(self.file, json.dumps(note, indent=1, default=str).encode())
        except OSError as error:
            raise UserError(f"--out {self.storage.url} cannot be written: {error}") from error

    def check_ours(self) -> None:
        """Refuse a directory that holds something else, before anything is written there.

        Raises:
            UserError: it does, or it cannot be read.
        """
        try:
            self._present()
        except OSError as error:
            raise UserError(f"--out {self.storage.url} cannot be read: {error}") from error

    def _present(self) -> dict[str, Any]:
        """What lies in the directory, but for the note of who is at work."""
        self.storage.refresh()
        present = self.storage.find() if self.storage.exists() else {}
        present.pop(LEASE_FILE, None)
        if present and self._is_foreign(present):
            raise self._foreign(present)
        return present

    def differs(self, option: str, before: Any, now: Any, how: str = "begun") -> UserError:
        """The error where an option is another than when the directory was begun.

        Args:
            option: its name.
            before: its value then.
            now: its value now.
            how: what was done with the directory then.
        """
        return UserError(
            f"--out {self.storage.url} was {how} with --{option} {shown(before)}, not "
            f"{shown(now)}: give the same, another --out, or --fresh to start anew"
        )

    @property
    def _format(self) -> str:
        return f"rayxkd {self.kind}"

    def _is_foreign(self, present: Mapping[str, Any]) -> bool:
        """Whether somebody else's files lie here; a damaged note is taken for ours."""
        if self.file not in present:
            return True
        try:
            note = json.loads(self.storage.read(self.file))
        except ValueError:
            return False
        return not isinstance(note, dict) or note.get("format") != self._format

    def _foreign(self, present: Mapping[str, Any]) -> UserError:
        file = self.file if self.file in present else next(iter(present))
        return UserError(
            f"--out {self.storage.url} holds '{file or self.storage.name}', which is no "
            f"{self.kind} of rayxkd: give a new or an empty directory"
        )

    def _settings(self) -> dict[str, Any]:
        """Those that the directory was begun with."""
        try:
            return recordable(dict(json.loads(self.storage.read(self.file))["settings"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.storage.url_of(self.file)} is damaged: start anew with --fresh"
            ) from error


def shown(value: Any) -> str:
    """The value of an option as it is typed."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "(none)"
    return "(default)" if value is None else str(value)
