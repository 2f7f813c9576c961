"""Asking a file system again where it is likely to answer the next time."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

T = TypeVar("T")

# Seconds before each further attempt: longer than a store that asks for less needs to recover.
WAITS = (0.5, 1.0, 2.0, 4.0)
_NUMBERS = {errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ETIMEDOUT}
_NUMBERS.add(getattr(errno, "EREMOTEIO", errno.EIO))
# Of botocore, aiohttp, httpx and Google's library, none of which is at hand here.
_KINDS = {
    "ClientConnectionError",
    "ClientOSError",
    "ClientPayloadError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "EndpointConnectionError",
    "HTTPError",
    "HttpError",
    "IncompleteRead",
    "ReadTimeoutError",
    "ResponseParserError",
    "ResponseStreamingError",
    "ServerDisconnectedError",
    "TransportError",
}


def is_transient(error: object) -> bool:
    """Whether what went wrong is likely to pass: the network, or a store that is overloaded."""
    if not isinstance(error, Exception) or isinstance(error, FileNotFoundError | PermissionError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return True
    if any(kind.__name__ in _KINDS for kind in type(error).__mro__):
        return _status(error) is None or _status(error) in (429, *range(500, 600))
    return error.__cause__ is not None and is_transient(error.__cause__)


def again_if_transient(call: Callable[[], T]) -> T:
    """What a call returns; it is made again, up to four times, where its error may pass."""
    result: T = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_chain(*map(wait_fixed, WAITS)),
        stop=stop_after_attempt(len(WAITS) + 1),
        reraise=True,
    )(call)
    return result


def _status(error: Exception) -> int | None:
    """The status of an answer over HTTP, where there was one."""
    answer = getattr(error, "response", None)
    for value in (
        *(getattr(error, name, None) for name in ("status", "code")),
        getattr(answer, "status_code", None),
    ):
        if isinstance(value, int):
            return value
    return None
