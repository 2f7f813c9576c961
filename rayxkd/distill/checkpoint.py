"""What a training that was stopped goes on from: one file, replaced after every epoch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import torch

from rayxkd.errors import UserError
from rayxkd.storage import Storage

RUN_FILE = "run.json"
_STATE_FILE = "checkpoint.pt"
_FORMAT = "rayxkd student"


class Checkpoint:
    """The state of a training in a directory (any fsspec URL).

    Attributes:
        storage: the directory.
    """

    def __init__(self, storage: Storage) -> None:
        """Use a directory; nothing is read yet."""
        self.storage = storage

    def begin(self, recorded: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Check that the directory is free or was begun with the same settings, and note them.

        Args:
            recorded: what the student depends on, JSON values.
            fresh: throw away what an earlier run left.

        Raises:
            UserError: the directory holds something else, a training with other settings, or
                cannot be written.
        """
        try:
            self.storage.refresh()
            present = self.storage.find() if self.storage.exists() else {}
            if present and RUN_FILE not in present:
                first = next(iter(present)) or self.storage.name
                raise UserError(
                    f"--out {self.storage.url} holds '{first}', which is no student of rayxkd: "
                    "give a new or an empty directory"
                )
            if present and not fresh:
                self._compare(recorded)
                return
            for name in present:
                self.storage.remove(name)
            note = {"format": _FORMAT, "settings": recorded}
            self.storage.write(RUN_FILE, json.dumps(note, indent=1, default=str).encode())
        except OSError as error:
            raise UserError(f"--out {self.storage.url} cannot be written: {error}") from error

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state; a reader sees the old one or the new one.

        Raises:
            UserError: it cannot be written; the old one is kept.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        try:
            self.storage.write(_STATE_FILE, buffer.getvalue())
        except OSError as error:
            raise UserError(
                f"the checkpoint cannot be written to {self.storage.url}: {error}; "
                "the last one is kept: run the same again to go on"
            ) from error

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state, or ``None`` where nothing was saved.

        Raises:
            UserError: it cannot be read.
        """
        try:
            self.storage.refresh()
            if not self.storage.exists(_STATE_FILE):
                return None
            content = self.storage.read(_STATE_FILE)
            state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        except (OSError, RuntimeError, ValueError) as error:
            where = self.storage.url_of(_STATE_FILE)
            raise UserError(f"{where} is damaged ({error}): start anew with --fresh") from error
        return dict(state)

    def _compare(self, recorded: Mapping[str, Any]) -> None:
        where = self.storage.url_of(RUN_FILE)
        try:
            note = json.loads(self.storage.read(RUN_FILE))
            earlier = dict(note["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where} is damaged: start anew with --fresh") from error
        now = json.loads(json.dumps(recorded, default=str))
        for name, (before, after) in _differences(earlier, now):
            raise UserError(
                f"--out {self.storage.url} was begun with --{name} {before}, not {after}: give the "
                "same, another --out, or --fresh to start anew"
            )


def _differences(
    earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, tuple[Any, Any]]]:
    """Names of options whose values differ, those of groups as they are typed."""
    found: list[tuple[str, tuple[Any, Any]]] = []
    for name in now:
        before, after = earlier.get(name), now[name]
        option = prefix + name.replace("_", "-")
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{option}.")
        elif before != after:
            found.append((option, (before, after)))
    return found
