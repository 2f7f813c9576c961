"""Addresses without their secrets: what may be shown, noted and compared.

An address is opened as it was given. Wherever else it goes, ``***`` stands for what lets somebody
in: the password before an ``@`` and the values of query parameters that sign or permit. Credentials
of object stores belong into the environment and never into an address; one that holds them all the
same loses them here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, unquote

T = TypeVar("T")

HIDDEN = "***"
_MARK = "://"
_LONGEST_SCHEME = 32
_SCHEME = re.compile(r"[A-Za-z0-9+_-]*\Z")
# What follows their `://` is a path or the name of a container: nobody logs in there.
_NO_LOGIN = frozenset(
    {
        *("file", "local", "memory", "zip", "tar", "libarchive", "dir", "demo", "hf"),
        *("github", "git", "abfs", "abfss", "az", "adl", "wasb", "wasbs"),
    }
)
# There the name is no secret and says which files are meant; elsewhere it may itself be a key.
_NAMED = frozenset({"ftp", "ftps", "sftp", "ssh", "smb", "hdfs", "webhdfs"})
# There a name without a password is a key.
_WEB = frozenset({"http", "https"})
# There a colon begins no port.
_BUCKETS = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "oss", "oci", "r2"})

_QUOTES = "'\"`"
_END = re.compile(r"[\s\"<>`]")
_END_OF_HOST = re.compile("[/?#]")
_HOST_AND_PORT = re.compile(r"[^:]*(:[0-9]+)?|\[[^\]]*\](:[0-9]+)?")
_PARAMETER = re.compile(r"[?&;#]([^?&;#=]+)=")
_END_OF_VALUE = re.compile("[&#]")
# What a sentence may add to an address that stands in it.
_PUNCTUATION = ".,:;!)]}'"

# Names of parameters, in small letters and without `-`, `_` and `.`.
_SECRET_NAMES = frozenset(
    {
        *("auth", "authorization", "code", "jwt", "pass", "passwd", "pwd", "sas", "session", "sid"),
        *("sig", "awsaccesskeyid", "googleaccessid", "keypairid", "sessionid"),
        # No secrets, but they change with the signature that they belong to.
        *("expires", "policy", "se", "st", "ske", "skt"),
    }
)
_SECRET_BEGINNINGS = ("xamz", "xgoog", "xoss", "xobs", "oauth")
_SECRET_ENDINGS = ("credential", "credentials", "key", "password", "secret", "signature", "token")

# Shorter parts of a secret give nothing away, but may be words of a message.
_SHORTEST_PART = 4
_JOINTS = re.compile(r"[/?#@:\s]")


def without_secrets(text: str, address: str = "") -> str:
    """A text whose addresses are without their secrets; all else stays as it is.

    In ``user:password@host`` the password is left out, and the name too except where it says which
    files are meant, as with ``ftp``; of query parameters such as ``X-Amz-Signature``, ``sig``,
    ``token`` or ``key`` the value. Chains (``zip://a::https://...``) are several addresses. What
    was done once is not changed when it is done again, and time grows as the length of the text.

    Args:
        text: an address, or a message in which there may be some.
        address: one whose secrets are left out of the text wherever they stand, for a message of
            whoever opened it.
    """
    pieces, place = [], 0
    for start, end in _places(text):
        pieces += [text[place:start], HIDDEN]
        place = end
    shown = "".join([*pieces, text[place:]])
    secrets = _forms(address)
    return secrets.sub(HIDDEN, shown) if secrets else shown


def recordable(value: T) -> T:
    """A value of JSON, or of options, with every text in it :func:`without_secrets`."""
    changed: object = value
    if isinstance(value, str):
        changed = without_secrets(value)
    elif isinstance(value, dict):
        changed = {name: recordable(one) for name, one in value.items()}
    elif isinstance(value, list | tuple):
        changed = type(value)(map(recordable, value))
    return changed  # type: ignore[return-value]  # it is of the same kind


def lacks_secrets(address: str) -> bool:
    """Whether an address has lost its secrets, so that it cannot be opened."""
    return any(address[start:end] == HIDDEN for start, end in _places(address))


@dataclass(frozen=True)
class _Address:
    """Where one address lies in a text.

    Attributes:
        scheme: in small letters.
        start: after ``://``.
        end: of the address.
        limit: where the next one begins, or the line ends.
    """

    scheme: str
    start: int
    end: int
    limit: int


def _places(text: str) -> Iterator[tuple[int, int]]:
    """Beginning and end of every secret, in order."""
    for address in _addresses(text):
        at = _end_of_login(text, address)
        if at is not None:
            login = text[address.start : at]
            _, colon, password = login.partition(":")
            if colon and address.scheme in _NAMED:
                if password:
                    yield at - len(password), at
            elif colon or login == HIDDEN or (login and address.scheme in _WEB):
                yield address.start, at
        yield from _values(text, address.start if at is None else at, address.end)


def _addresses(text: str) -> Iterator[_Address]:
    marks = [found.start() for found in re.finditer(_MARK, text)]
    schemes = [_scheme_before(text, mark) for mark in marks]
    begins = [mark - len(scheme) for mark, scheme in zip(marks, schemes, strict=True)]
    followings = [*begins, len(text)][1:]
    quotation = ""
    for scheme, begin, following in zip(schemes, begins, followings, strict=False):
        start = begin + len(scheme) + len(_MARK)
        if begin and text[begin - 1] in _QUOTES:
            quotation = text[begin - 1]
        end = _end_of_address(text, start, following, quotation)
        line = text.find("\n", start, following)
        yield _Address(scheme.lower(), start, end, following if line < 0 else line)
        if end < following - len("::"):  # the next one is no part of a chain
            quotation = ""


def _scheme_before(text: str, mark: int) -> str:
    found = _SCHEME.search(text[max(0, mark - _LONGEST_SCHEME) : mark])
    return found[0] if found else ""


def _end_of_address(text: str, start: int, following: int, quotation: str) -> int:
    """At the closing quotation mark, or else at what no address contains."""
    if quotation:
        closing = text.find(quotation, start, following)
        if closing >= 0:
            return closing
    found = _END.search(text, start, following)
    end = found.start() if found else following
    return end - len("::") if text.endswith("::", start, end) else end


def _end_of_login(text: str, address: _Address) -> int | None:
    """Where the ``@`` after a login stands, if there is one."""
    if address.scheme in _NO_LOGIN:
        return None
    found = _END_OF_HOST.search(text, address.start, address.end)
    end = found.start() if found else address.end
    at = text.rfind("@", address.start, end)
    if at < 0 and not _is_host(address.scheme, text[address.start : end]):
        # A password with characters that should have been encoded, such as a slash.
        at = text.rfind("@", address.start, address.limit)
    return None if at < 0 else at


def _is_host(scheme: str, text: str) -> bool:
    if scheme in _BUCKETS:
        return ":" not in text or text.startswith("arn:")
    return _HOST_AND_PORT.fullmatch(text) is not None


def _values(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The values of parameters that are secret."""
    done = start
    for parameter in _PARAMETER.finditer(text, start, end):
        if parameter.start() < done or not _is_secret(parameter[1]):
            continue
        found = _END_OF_VALUE.search(text, parameter.end(), end)
        done = found.start() if found else end
        value = text[parameter.end() : done].rstrip(_PUNCTUATION)
        if value:
            yield parameter.end(), parameter.end() + len(value)


def _is_secret(name: str) -> bool:
    plain = re.sub("[-_.]", "", unquote(name).lower())
    return (
        plain in _SECRET_NAMES
        or plain.startswith(_SECRET_BEGINNINGS)
        or plain.endswith(_SECRET_ENDINGS)
    )


def _forms(address: str) -> re.Pattern[str] | None:
    """The secrets of an address as they may stand apart from it, as whole words; ``None`` if none.

    File systems tear addresses apart, so passwords may stand alone, and in other encodings.
    """
    forms: set[str] = set()
    for start, end in _places(address):
        secret = address[start:end]
        parts = [part for part in _JOINTS.split(secret) if len(part) >= _SHORTEST_PART]
        for one in (secret, secret.rpartition(":")[2], *parts):
            forms |= {one, unquote(one), quote(one, safe="")}
    longest_first = sorted(forms - {"", HIDDEN}, key=lambda form: (-len(form), form))
    if not longest_first:
        return None
    return re.compile("|".join(f"(?<!\\w){re.escape(form)}(?!\\w)" for form in longest_first))
