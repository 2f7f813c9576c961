"""What is served: a leaderboard, looked at again when somebody asks and enough time has passed."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from threading import Lock

from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.report import Live, explain_html, report_html, waiting_html
from rayxkd.leaderboard.watch import Watcher

_PAGES = 64  # explanations that are kept for one version


@dataclass(frozen=True)
class Seen:
    """One version of a leaderboard.

    Attributes:
        board: of the teachers that are finished; ``None`` before the first.
        live: how it is shown.
    """

    board: Leaderboard | None
    live: Live

    @property
    def finished(self) -> int:
        """How many teachers are finished."""
        return 0 if self.board is None else int(self.board.table.num_rows)


class Following:
    """A leaderboard that may still grow; may be asked by several threads.

    Args:
        address: directory (path or fsspec URL) of the scan.
        every: seconds between two looks.

    Raises:
        UserError: there is no leaderboard and no scan, or it holds the trials of a search.
    """

    def __init__(self, address: str, every: float) -> None:
        self._watcher = Watcher(address)
        self._every = every
        self._lock = Lock()
        # A server that was started anew has other versions: a page that is open sees that too.
        self._run, self._count = secrets.token_hex(4), 0
        self._seen: Seen | None = None
        self._next = 0.0
        self._pages: dict[str, bytes] = {}
        self.look()

    def look(self) -> Seen:
        """What there is now.

        Raises:
            UserError: it cannot be read.
        """
        with self._lock:
            return self._look()

    def page(self) -> tuple[Seen, bytes]:
        """What there is now, and its page.

        Raises:
            UserError: it cannot be read.
        """
        with self._lock:
            seen = self._look()
            if "" not in self._pages:
                board, live = seen.board, seen.live
                self._pages[""] = waiting_html(live) if board is None else report_html(board, live)
            return seen, self._pages[""]

    def explanation(self, teacher: str) -> bytes:
        """The page of one teacher.

        Raises:
            UserError: there is no such teacher, or nothing can be read.
        """
        with self._lock:
            seen, key = self._look(), f"/{teacher}"
            if key not in self._pages:
                if len(self._pages) > _PAGES:
                    self._pages.clear()
                self._pages[key] = explain_html(seen.board, teacher)
            return self._pages[key]

    def _look(self) -> Seen:
        now = time.monotonic()
        if self._seen is not None and now < self._next:
            return self._seen
        glance = self._watcher.look()
        # A look at a large scan far away takes long: wait for as long as it took.
        self._next = time.monotonic() + max(self._every, time.monotonic() - now)
        seen = self._seen
        if seen is None or glance.board is not seen.board or glance.is_done != seen.live.is_done:
            board = None if glance.board is None else glance.board.teachers_for("serve")
            self._count += 1
            version = f"{self._run}-{self._count}"
            self._seen = seen = Seen(board, Live(version, self._every, glance.is_done))
            self._pages.clear()
        return seen
