"""The server: its port, its token, and its end."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from urllib.parse import quote

from rich.console import Console
from rich.text import Text

from rayxkd.console import literal
from rayxkd.errors import UserError

# Ray's dashboard has 8265.
_PORTS = range(8270, 8300)
_PATIENCE = 2  # seconds for answers that are under way when it ends


def serve(
    address: str,
    console: Console,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    every: float = 2.0,
    token: str | None = None,
) -> None:
    """Serve a leaderboard until Ctrl-C.

    Args:
        address: directory (path or fsspec URL) of the scan.
        console: where the address of the page is printed.
        host: on which to listen. Where others reach it, a token is needed, and made if none is
            given.
        port: by default the first free one from 8270 on.
        every: seconds between two looks.
        token: that whoever asks has to know.

    Raises:
        UserError: there is no leaderboard, the extra is not installed, the port is taken, or an
            option makes no sense.
    """
    if not every > 0:
        raise UserError(f"--every {every:g} is no time to wait: give seconds above 0")
    if token is not None and not (token.strip() and token.isascii() and token.isprintable()):
        raise UserError(
            "--token has to be some ASCII characters: for other hosts leave it out, and one is made"
        )
    try:
        import uvicorn

        from rayxkd.leaderboard.serve.app import make_app
    except ImportError as error:
        message = "serve needs FastAPI and uvicorn: pip install 'rayxkd[serve]'"
        raise UserError(message) from error
    from rayxkd.leaderboard.serve.following import Following
    from rayxkd.leaderboard.serve.guard import Guard, is_loopback

    following = Following(address, every)
    is_made = token is None and not is_loopback(host)
    if is_made:
        token = secrets.token_urlsafe(24)
    with _listening(host, port) as listener:
        app = Guard(make_app(following), host, token)
        # The log of requests would hold the token of the first one.
        config = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_PATIENCE,
        )
        place = _address_of(host, listener.getsockname()[1], token)
        # A token of the user's own is known already, and is shown no more than other secrets.
        told = f"serving at {place}"
        console.print(Text(told) if is_made else literal(told), soft_wrap=True)
        console.print(literal("Ctrl-C ends it"), soft_wrap=True)
        with suppress(KeyboardInterrupt):  # the way to end it: no mistake
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens on a port; without one given, on the first that is free."""
    try:
        family, *_, place = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"--host {host} is no name of this machine: {error}") from error
    ports = _PORTS if port is None else [port]
    for number in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((place[0], number))
        except (OSError, OverflowError) as error:
            listener.close()
            why = str(error)
            continue
        return listener
    told = f"--port {port}" if port is not None else f"every port from {_PORTS[0]} to {_PORTS[-1]}"
    raise UserError(f"{told} on {host} cannot be listened on ({why}): give another --port")


def _address_of(host: str, port: int, token: str | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")
