"""Who may ask, and what browsers may do with the answers."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

# ASGI 3: what a server and an application hand to each other.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY = frozenset({"0.0.0.0", "::"})
_PARAMETER = "token"
_SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
]
_NOTHING = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on that host."""
    try:
        return host in _LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Guard:
    """Refuses before anything is done: foreign names of this server, and askers without its token.

    A page of another site that has its own name point to this machine (DNS rebinding) asks under
    that name, and is refused. A right token in the address becomes a cookie that no script reads,
    and leaves the address; programs send it as ``Authorization: Bearer``.

    Attributes:
        app: what is guarded.
        host: on which it is served.
        token: that lets in; ``None`` lets everybody in who asks under the right name.
    """

    app: App
    host: str
    token: str | None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request (ASGI 3)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        if not self._is_own_name(headers.get("host", b"").decode("latin-1")):
            await _refuse(send, 421, "this server goes by another name: ask for the address shown")
            return
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get(_PARAMETER)
        if self.token is not None and given is not None and self._is_token(given):
            await _redirect(send, scope, self._cookie(given))
            return
        if self.token is not None and not any(map(self._is_token, self._tokens(headers))):
            await _refuse(send, 401, "no token or a wrong one: open the address that serve printed")
            return
        await self.app(scope, receive, _with_security(send))

    def _is_own_name(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if self.host in _ANY:
            return name in _LOOPBACK or _is_address(name) or name in _names_here()
        return name == self.host.lower() or (is_loopback(self.host) and name in _LOOPBACK)

    def _is_token(self, given: str) -> bool:
        """Compared in a time that tells nothing."""
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _tokens(self, headers: dict[str, bytes]) -> Iterable[str]:
        scheme, _, value = headers.get("authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer":
            yield value.strip()
        try:
            cookies = SimpleCookie(headers.get("cookie", b"").decode("latin-1"))
        except CookieError:
            return
        if _PARAMETER in cookies:
            yield cookies[_PARAMETER].value

    def _cookie(self, token: str) -> str:
        cookie: SimpleCookie = SimpleCookie({_PARAMETER: token})
        return f"{cookie[_PARAMETER].OutputString()}; Path=/; HttpOnly; SameSite=Strict"


def _is_address(name: str) -> bool:
    """Whether it is a number, which nobody can have point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _names_here() -> set[str]:
    return {socket.gethostname().lower(), socket.getfqdn().lower()}


def _with_security(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own: Headers = list(message.get("headers", []))
            has_policy = any(name.lower() == _NOTHING[0] for name, _ in own)
            message["headers"] = [*own, *_SECURITY, *([] if has_policy else [_NOTHING])]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await _answer(send, status, headers, f"{why}\n".encode())


async def _redirect(send: Send, scope: Message, cookie: str) -> None:
    """To the same place without the token, which is kept in a cookie from now on."""
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([(name, value) for name, value in asked if name != _PARAMETER])
    # Two slashes at the beginning would lead to another server.
    path = "/" + scope.get("raw_path", scope["path"].encode()).decode("latin-1").lstrip("/\\")
    place = path + (f"?{query}" if query else "")
    headers = [(b"location", place.encode("latin-1")), (b"set-cookie", cookie.encode("latin-1"))]
    await _answer(send, 303, headers, b"")


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    secured = _with_security(send)
    await secured({"type": "http.response.start", "status": status, "headers": headers})
    await secured({"type": "http.response.body", "body": body})
