"""What a training that was stopped goes on from: one file, replaced after every epoch."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pickle import UnpicklingError
from typing import Any

import torch

from rayxkd.claim import Claim
from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.teachers.errors import one_line

RUN_FILE = "run.json"
_STATE_FILE = "checkpoint.pt"
# What is noted beside the options, and what to say where it has changed.
_NO_OPTIONS = {
    "images": "other images",
    "teachers": "other teachers",
    "method": "another version of rayxkd",
}


class Checkpoint:
    """The state of a training, or of a search, in a directory (any fsspec URL).

    Attributes:
        storage: the directory.
    """

    def __init__(self, storage: Storage, kind: str = "student") -> None:
        """Use a directory; nothing is read yet.

        Args:
            storage: the directory.
            kind: what it holds: a student or a search.
        """
        self.storage = storage
        self._claim = Claim(storage, RUN_FILE, kind)

    def begin(self, recorded: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Check that the directory is free or was begun with the same settings, and note them.

        Args:
            recorded: what the student depends on, JSON values.
            fresh: throw away what an earlier run left.

        Raises:
            UserError: the directory holds something else, a training with other settings, or
                cannot be written.
        """
        self._claim.begin(recorded, partial(self._compare, recorded), fresh=fresh)

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
        except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
            where = self.storage.url_of(_STATE_FILE)
            raise UserError(
                f"{where} is damaged or cannot be read ({one_line(error)}): start anew with --fresh"
            ) from error
        return dict(state)

    def _compare(self, recorded: Mapping[str, Any], earlier: dict[str, Any]) -> None:
        now = json.loads(json.dumps(recorded, default=str))
        for option, before, after in _differences(earlier, now):
            raise self._claim.differs(option, before, after)
        for name, what in _NO_OPTIONS.items():
            if earlier.get(name) != now.get(name):
                raise UserError(
                    f"--out {self.storage.url} was begun with {what}: give another --out, or "
                    "--fresh to start anew"
                )


def _differences(
    earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Options whose values differ, those of groups as they are typed, with both values."""
    for name in dict.fromkeys([*now, *earlier]):
        before, after = earlier.get(name), now.get(name)
        option = prefix + name.replace("_", "-")
        if name in _NO_OPTIONS:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{option}.")
        elif before != after:
            yield option, before, after
