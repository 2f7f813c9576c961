"""What an address of a library selects: ``timm://resnet18*,vit_tiny*?license=apache-2.0``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

from rayxkd.errors import UserError, unknown_name

# A question mark also stands for one character of a name: only one before a key begins a query.
_QUERY = re.compile(r"\?(?=[a-z_]+=)")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kmb]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_KEYS = ("license", "max_parameters", "weights")
PRETRAINED, RANDOM = "pretrained", "random"


@dataclass(frozen=True)
class Selection:
    """Teachers of a library.

    Attributes:
        address: as the user gave it.
        scheme: with its ``://``.
        patterns: of names, with ``*``, ``?`` and ``[...]``; none takes all.
        licenses: lower case; none takes all.
        max_parameters: how many a teacher may have.
        untrained: architectures with random weights, as a control.
    """

    address: str
    scheme: str
    patterns: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    max_parameters: int | None = None
    untrained: bool = False

    def takes(self, name: str) -> bool:
        """Whether a name is selected: ``resnet50.a1_in1k``, also by ``resnet50`` alone."""
        short = name.split(".", 1)[0]
        return not self.patterns or any(
            fnmatchcase(name, pattern) or fnmatchcase(short, pattern) for pattern in self.patterns
        )

    def allows(self, license: str | None) -> bool:
        """Whether a licence is among those that are wanted."""
        return not self.licenses or (license or "").lower() in self.licenses


def parse_selection(address: str) -> Selection:
    """Read an address.

    Raises:
        UserError: a key or a value is wrong.
    """
    scheme, _, rest = address.partition("://")
    names, *query = _QUERY.split(rest, maxsplit=1)
    values = parse_query(address, query[0] if query else "", _KEYS)
    weights = values.get("weights", PRETRAINED)
    if weights not in (PRETRAINED, RANDOM):
        raise unknown_name("kind of weights", weights, (PRETRAINED, RANDOM))
    return Selection(
        address,
        f"{scheme}://",
        _listed(names.rstrip("/")),
        _listed(values.get("license", "").lower()),
        _count(address, values["max_parameters"]) if "max_parameters" in values else None,
        weights == RANDOM,
    )


def parse_query(address: str, query: str, known: tuple[str, ...]) -> Mapping[str, str]:
    """The keys and values after the question mark of an address.

    Raises:
        UserError: a key that is not known, twice, or without a value.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    values = dict(pairs)
    for key in values:
        if key not in known:
            raise unknown_name(f"key of {address}", key, known)
    if len(values) < len(pairs) or not all(values.values()):
        raise UserError(f"{address}: give each key once, as key=value")
    return values


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _count(address: str, text: str) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UserError(f"{address}: max_parameters is a number such as 25M, not '{text}'")
    return int(float(match[1]) * _UNITS[match[2].lower()])
