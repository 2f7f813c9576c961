"""How commands talk: options in, one line for every mistake, and exit codes that mean something."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import Any

from cyclopts import App, CycloptsError
from rich.console import Console
from rich.text import Text

from rayxkd.errors import UserError
from rayxkd.secrets import without_secrets

# Also the marks that turn the direction of writing, and the separators of lines: with them a name
# could look like another, or leave its row.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Files and pipes have no width: wide enough that no row is broken.
_PIPE_WIDTH = 200

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


class _OutputConsole(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to :func:`run_app`, as with everything else that is written."""
        raise BrokenPipeError


def output_console() -> Console:
    """Standard output: as wide as the terminal, or wide where there is none.

    A character that its encoding does not have is written as an escape.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return _OutputConsole()
    return _OutputConsole(width=_PIPE_WIDTH)


def write_output(text: str) -> None:
    """Text for programs on standard output: UTF-8, whatever people see here."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)


def literal(text: str, style: str = "") -> Text:
    """Text of others as it is: no markup, and control characters are shown, not obeyed.

    Only the secrets of addresses are left out.
    """
    return Text(plain(text), style)


def teller(console: Console) -> Callable[[str], None]:
    """A function that prints one line for people, as :func:`literal` shows it."""

    def tell(line: str) -> None:
        console.print(literal(line), soft_wrap=True)

    return tell


def plain(text: str) -> str:
    """What :func:`literal` shows, as a string for any other kind of page."""
    shown = without_secrets(text) if "://" in text else text
    if shown.isprintable():  # nearly all are, and there may be a million of them
        return shown
    return _CONTROL_CHARACTER.sub(lambda found: repr(found[0])[1:-1], shown)


@contextmanager
def on_sigterm(act: Callable[[], Any]) -> Iterator[None]:
    """SIGTERM (``ray job stop``, a cluster's scheduler) calls ``act`` within this context.

    Outside the main thread nothing changes: there the caller handles signals.
    """

    def handle(_: int, __: FrameType | None) -> Any:
        act()

    try:
        previous = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def interrupt() -> None:
    """End the work as Ctrl-C does.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


def run_app(app: App, arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command, and return its exit code.

    A mistake of the user's is one line on standard error and exit code 1, without a traceback.
    """
    app.suppress_keyboard_interrupt = False  # it is handled below
    try:
        code = app(
            list(sys.argv[1:] if arguments is None else arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(f"{error} See --help.")
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code if isinstance(code, int) else EXIT_OK


def _fail(message: str) -> int:
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True).print(literal(f"error: {line}", style="red"))
    return EXIT_FAILED
