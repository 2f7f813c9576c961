"""Waiting for machines: telling that it is being waited, and giving up in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rayxkd.errors import UserError

# When it is first told that no machine is there, and how much longer until it is told again.
_TELL_AFTER, _TELL_FACTOR = 30.0, 4.0


@dataclass(frozen=True)
class Patience:
    """What is done while no actor finds a machine.

    Attributes:
        needs: what one actor takes, in words.
        seconds: how long it is waited for the first of them, or for the next when all are gone.
        tell: hears now and then that it is being waited.
    """

    needs: str
    seconds: float
    tell: Callable[[str], None]


class Watch:
    """Tells that no machine is there, and gives up in the end."""

    def __init__(self, patience: Patience | None, now: Callable[[], float]) -> None:
        self._patience, self._now = patience, now
        self._since: float | None = None
        self._tell_at = _TELL_AFTER

    def look(self, starting: int, running: int) -> None:
        """What there is at present.

        Raises:
            UserError: nothing has been running for too long.
        """
        patience = self._patience
        if patience is None or running or not starting:
            self._since = None
            return
        if self._since is None:
            self._since, self._tell_at = self._now(), _TELL_AFTER
        waited = self._now() - self._since
        if waited >= patience.seconds:
            raise UserError(
                f"no machine came within {waited:.0f} s for a worker with {patience.needs}: see "
                "`ray status` for what the cluster can start, ask for less, or wait longer with "
                "--wait"
            )
        if waited >= self._tell_at:
            self._tell_at *= _TELL_FACTOR
            patience.tell(
                f"waiting for machines since {waited:.0f} s: {starting} worker(s) with "
                f"{patience.needs} each"
            )
