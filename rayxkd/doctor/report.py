"""What was found, for programs and for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rayxkd.console import literal
from rayxkd.doctor.checks import Check, State

_SHOWN = {
    State.OK: ("ok", "green"),
    State.WARNING: ("warning", "yellow"),
    State.FAILED: ("FAILED", "bold red"),
    State.SKIPPED: ("skipped", "dim"),
}
# So that the sections stand below one another in columns.
_NAME_WIDTH = 16


@dataclass
class Report:
    """All checks, as they are made.

    Attributes:
        checks: in the order in which they were made; without secrets.
    """

    checks: list[Check] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether nothing failed; warnings are allowed."""
        return not self.having(State.FAILED)

    @property
    def mends(self) -> list[str]:
        """What to do, each once: what has failed first."""
        told = [*self.having(State.FAILED), *self.having(State.WARNING)]
        return list(dict.fromkeys(check.mend for check in told if check.mend))

    def having(self, state: State) -> list[Check]:
        """The checks that ended so."""
        return [check for check in self.checks if check.state == state]

    def section(self, title: str, checks: Iterable[Check], console: Console) -> None:
        """Make checks, keep them, and print them below a title."""
        with console.status(f"{title} ..."):
            made = [check.without_secrets() for check in checks]
        self.checks += made
        if made:
            _print_section(title, made, console)

    def print_end(self, console: Console) -> None:
        """Print what there is to mend, and how many checks ended how."""
        if self.mends:
            console.print(Text("To mend", "bold"))
            table = Table.grid(padding=(0, 1))
            for number, mend in enumerate(self.mends, 1):
                table.add_row(f"  {number}.", literal(mend))
            console.print(table)
            console.print()
        counts = {state: len(self.having(state)) for state in State}
        parts = [f"{count} {_SHOWN[state][0]}" for state, count in counts.items() if count]
        console.print(Text(", ".join(parts)), soft_wrap=True)


def _print_section(title: str, checks: Iterable[Check], console: Console) -> None:
    console.print(Text(title, "bold"))
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=9, no_wrap=True)
    table.add_column(min_width=_NAME_WIDTH, overflow="fold")
    table.add_column(overflow="fold")
    for check in checks:
        word, style = _SHOWN[check.state]
        table.add_row(Text(f"  {word}", style), literal(check.name), literal(check.detail))
    console.print(table)
    console.print()
