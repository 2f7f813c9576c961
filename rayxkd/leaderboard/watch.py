"""A leaderboard while its scan is still running."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rayxkd.console import literal
from rayxkd.errors import UserError
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.journal import PARTS, SCAN_FILE, TABLE_FILE, Journal
from rayxkd.leaderboard.ranking import ranked_table
from rayxkd.leaderboard.render import print_table
from rayxkd.leaderboard.view import view_of
from rayxkd.lease import Pulse
from rayxkd.storage import Storage

# What file systems call the time at which a file was last written.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")

Choice = Callable[[Leaderboard], Leaderboard]


@dataclass(frozen=True)
class Glance:
    """What is known at one moment.

    Attributes:
        board: of the teachers that are finished; ``None`` before the first.
        is_done: the scan has written its table.
        has_stopped: it has not, and is no longer at work; where that was looked for.
    """

    board: Leaderboard | None
    is_done: bool
    has_stopped: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.is_done or self.has_stopped


@dataclass(frozen=True)
class _Screen:
    """Where the rows go, and which of them: what :func:`watch` was asked."""

    address: str
    console: Console
    choose: Choice
    top: int | None

    def page(self, board: Leaderboard | None) -> Group | Text:
        """What fits on the screen while the scan is running."""
        if board is None:
            return self._waiting()
        room = max(self.console.height - 8, 1)  # heading, titles, and the lines below
        top = room if self.top is None else min(room, self.top)
        ascii_only = self.console.options.ascii_only
        view = view_of(self.choose(board), self.console.width, ascii_only=ascii_only, top=top)
        finished = f"{board.table.num_rows:,} finished so far; Ctrl-C ends watching"
        return Group(view, Text(finished, style="dim"))

    def print(self, glance: Glance) -> None:
        """Everything, once."""
        if glance.board is None:
            self.console.print(self._waiting())
        else:
            print_table(self.choose(glance.board), self.console, top=self.top)
        if glance.has_stopped:
            stopped = "The scan was stopped or killed: give its command again, and it goes on."
            self.console.print(Text(stopped, style="yellow"))

    def _waiting(self) -> Text:
        return literal(f"{self.address}: no teacher is finished yet", style="dim")


class Watcher:
    """Looks at a leaderboard's directory again and again, and reads only what has changed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._storage = Storage.at(address)
        self._pulse = Pulse(self._storage)
        self._seen: object = None
        self._board: Leaderboard | None = None

    def look_for_end(self) -> Glance:
        """As :meth:`look`, and whether a scan without a table is still at work.

        Raises:
            UserError: as :meth:`look`.
        """
        glance = self.look()
        if glance.is_done or not self._has_stopped():
            return glance
        glance = self.look()  # it may have written its table between the two
        return replace(glance, has_stopped=not glance.is_done)

    def _has_stopped(self) -> bool:
        try:
            return self._pulse.has_stopped()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> UserError:
        return UserError(f"{self._storage.url} cannot be read: {error}")

    def look(self) -> Glance:
        """Read the finished table, or the parts where a part is newer than the table.

        Raises:
            UserError: there is neither, nor a scan that has just begun.
        """
        try:
            self._storage.refresh()
            parts = self._storage.find(PARTS) if self._storage.exists(PARTS) else {}
            begun = self._storage.exists(SCAN_FILE)
            if not (begun or parts) or self._is_done(parts):
                self._open(parts)
                return Glance(self._board, is_done=True)
            self._read(parts)
        except OSError as error:
            raise self._unreadable(error) from error
        return Glance(self._board, is_done=False)

    def _is_done(self, parts: dict[str, dict[str, Any]]) -> bool:
        if not self._storage.exists(TABLE_FILE):
            return False
        written = _written(self._storage.find(TABLE_FILE).get(TABLE_FILE, {}))
        return written is None or all(written >= _written(part) for part in parts.values())

    def _open(self, parts: dict[str, dict[str, Any]]) -> None:
        table = self._storage.find(TABLE_FILE) if self._storage.exists(TABLE_FILE) else {}
        times = {name: _written(details) for name, details in {**parts, **table}.items()}
        if self._board is None or times != self._seen or None in times.values():
            self._board = Leaderboard.open(self._address)
        self._seen = times

    def _read(self, parts: dict[str, dict[str, Any]]) -> None:
        state = {name: _written(details) for name, details in parts.items()}
        if state == self._seen:
            return
        found = Journal(self._storage).contents()
        if found.schema is not None:
            table = ranked_table(found.assessments, found.schema)
            board = Leaderboard.of(self._storage.url, table)
            self._board = replace(board, storage=self._storage)
        self._seen = state


def watch(
    address: str, console: Console, choose: Choice, *, every: float = 2.0, top: int | None = None
) -> None:
    """Show a leaderboard until its scan has written the table or has stopped, or until Ctrl-C.

    Where the console is no terminal, what there is now is printed once.

    Args:
        address: directory (path or fsspec URL) of the scan.
        console: where to.
        choose: which rows are shown, in which order.
        every: seconds between two looks.
        top: how many rows are shown.

    Raises:
        UserError: there is no leaderboard, or what ``choose`` raises.
    """
    if not every > 0:
        raise UserError(f"--every {every:g} is no time to wait: give seconds above 0")
    watcher, screen = Watcher(address), _Screen(address, console, choose, top)
    seen = _redraw(watcher, screen, every) if console.is_terminal else watcher.look_for_end()
    screen.print(seen)


def _redraw(watcher: Watcher, screen: _Screen, every: float) -> Glance:
    """Redraw until the scan ends or Ctrl-C ends watching, and return what was seen last."""
    glance = Glance(None, is_done=False)
    try:
        with Live(console=screen.console, auto_refresh=False, transient=True) as live:
            while not glance.is_over:
                begun = time.monotonic()
                glance = watcher.look_for_end()
                if not glance.is_over:
                    live.update(screen.page(glance.board), refresh=True)
                    # A look at a large scan far away takes long: wait for as long as it took.
                    time.sleep(max(every, time.monotonic() - begun))
    except KeyboardInterrupt:  # the way to end it: no mistake
        pass
    return glance


def _written(details: dict[str, Any]) -> Any:
    """When a file was written, in whatever its file system tells times."""
    return next((details[name] for name in _TIMES if details.get(name) is not None), None)
