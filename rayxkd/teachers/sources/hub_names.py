"""What an address names on a hub: a model, or a search for models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from rayxkd.errors import UserError
from rayxkd.offline import OFFLINE_VARIABLE, is_offline
from rayxkd.teachers.sources.hub_files import asked, hub_library, why
from rayxkd.teachers.sources.query import parse_query

HUB_SCHEME = "hf://"
_PART = r"[\w.-]+"
_NAME = re.compile(
    rf"(?P<id>{_PART}/{_PART})(@(?P<revision>[^/]+))?(/(?P<folder>.+?))?/?", re.ASCII
)
_KEYS = ("author", "search", "tag", "limit")
_TASK = "image-classification"
_MOST = 100


@dataclass(frozen=True)
class HubModel:
    """A teacher of the hub.

    Attributes:
        id: owner and name.
        revision: branch, tag or commit; ``None`` is the newest.
        folder: within the model; empty for its root.
    """

    id: str
    revision: str | None = None
    folder: str = ""

    @classmethod
    def parse(cls, name: str) -> HubModel:
        """Read ``owner/name[@revision][/folder]``.

        Raises:
            UserError: it is none.
        """
        match = _NAME.fullmatch(name)
        if match is None or ".." in name:
            raise UserError(
                f"hf://{name} names no model: give hf://owner/name, hf://owner/name@revision, "
                "hf://owner or hf://?search=..."
            )
        return cls(match["id"], match["revision"], match["folder"] or "")

    @property
    def name(self) -> str:
        """As it stands in an address."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.id}{revision}" + (f"/{self.folder}" if self.folder else "")

    def file(self, name: str) -> str:
        """A file of the teacher, relative to the model."""
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True)
class Search:
    """Which of the hub's image classifiers.

    Attributes:
        author: whose.
        search: what their names contain.
        tag: what they are tagged with.
        limit: how many, those that are downloaded most.
    """

    author: str | None = None
    search: str | None = None
    tag: str | None = None
    limit: int = _MOST

    @classmethod
    def parse(cls, address: str, query: str) -> Search:
        """Read what follows the question mark of an address.

        Raises:
            UserError: a key or a value is wrong.
        """
        values = parse_query(address, query, _KEYS)
        limit = values.get("limit", str(_MOST))
        if not limit.isascii() or not limit.isdigit() or not int(limit):
            raise UserError(f"{address}: limit is a number from 1 on, not '{limit}'")
        return cls(values.get("author"), values.get("search"), values.get("tag"), int(limit))

    def models(self) -> list[HubModel]:
        """What the hub finds.

        Raises:
            UserError: the hub cannot be asked.
        """
        if is_offline():
            raise UserError(
                f"a search asks the hub, and {OFFLINE_VARIABLE} is set: name models that are "
                "cached, such as hf://owner/name, or unset it"
            )
        filters = [_TASK, *([self.tag] if self.tag else [])]
        find = partial(
            hub_library().HfApi().list_models,
            author=self.author,
            search=self.search,
            filter=filters,
            sort="downloads",
            limit=self.limit,
        )
        try:
            return [HubModel(one.id) for one in asked(lambda: list(find()))]
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the hub's list of models {why(error, HUB_SCHEME)}") from error
