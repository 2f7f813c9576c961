"""How commands talk: options in, one line for every mistake, and exit codes that mean something."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cyclopts import App, CycloptsError
from rich.console import Console
from rich.text import Text

from rayxkd.errors import UserError
from rayxkd.secrets import without_secrets

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# Files and pipes have no width: wide enough that no row is broken.
_PIPE_WIDTH = 200

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


class _OutputConsole(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to :func:`run_app`, as with everything else that is written."""
        raise BrokenPipeError


def output_console() -> Console:
    """Standard output: as wide as the terminal, or wide where there is none."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return _OutputConsole()
    return _OutputConsole(width=_PIPE_WIDTH)


def literal(text: str, style: str = "") -> Text:
    """Text of others as it is: no markup, and control characters are shown, not obeyed.

    Only the secrets of addresses are left out.
    """
    shown = without_secrets(text)
    return Text(_CONTROL_CHARACTER.sub(lambda found: repr(found[0])[1:-1], shown), style)


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
