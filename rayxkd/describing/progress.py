"""How far the search for an architecture is, on a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class SearchProgress:
    """A bar on stderr that goes away at the end; a file that needs no search shows none."""

    def __init__(self, file: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._row = self._bar.add_task(f"architectures tried for {file}", visible=False, total=None)

    def __enter__(self) -> SearchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tell(self, done: int, total: int) -> None:
        """So many architectures of so many are tried."""
        self._bar.update(self._row, completed=done, total=total, visible=total > 1)
