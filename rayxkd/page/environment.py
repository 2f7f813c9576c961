"""How templates become pages: what others wrote is text there, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rayxkd.page.axis import fixed

# Line breaks and tabs are mere space on a page; other control characters, and those that turn the
# direction of writing, are shown and not obeyed.
_CONTROL_CHARACTER = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Slashes and the like within a name; no entity of HTML has one.
_JOINT = re.compile(r"(?<=\w)([/_.-])(?=\w)")


def environment(package: str, **filters: Callable[..., Any]) -> Environment:
    """The templates of a package, and those that all pages share.

    Every text is escaped, its control characters are shown, and a name that a template mistypes is
    an error. Templates can ask whether a number ``is known``, write it by ``fixed``, and names
    by ``listed`` or ``breakable``.

    Args:
        package: whose folder ``templates`` is read.
        filters: of that package's own.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("rayxkd.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    made.filters.update(fixed=fixed, listed=listed, breakable=breakable, **filters)
    made.tests["known"] = lambda value: value is not None and math.isfinite(value)
    return made


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a row, the first of them where they are many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def breakable(name: str) -> Markup:
    """A long name that is broken after its joints, where it has to be broken."""
    return Markup(_JOINT.sub(r"\1<wbr>", str(escape(_harmless(name)))))


def digest_of(script: str) -> str:
    """What a page's policy says to allow one script of its own (CSP level 2)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _harmless(value: Any) -> Any:
    """Text of others without characters that do something; it is escaped after that."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _CONTROL_CHARACTER.sub(lambda found: ascii(found[0])[1:-1], value)
