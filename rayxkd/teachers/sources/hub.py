"""``hf://``: models of a hub, by name, by owner, or by a search."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from rayxkd.cache import LocalCache
from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.teachers.card import (
    CARD_FILE,
    PREPROCESSOR_FILE,
    RejectedCard,
    TeacherCard,
    TeacherFolder,
)
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.listing import LARGEST_CARD, card_too_large
from rayxkd.teachers.reading import read_card
from rayxkd.teachers.repository import Card, SelectingRepository
from rayxkd.teachers.sources.downloads import OFFLINE_VARIABLE, is_offline
from rayxkd.teachers.sources.hub_files import asked, hub_file, hub_library, why
from rayxkd.teachers.sources.query import parse_query

HUB_SCHEME = "hf://"
# Other kinds of the hub's repositories are files like any other.
_NO_MODELS = ("datasets/", "spaces/", "buckets/")
_PART = r"[\w.-]+"
_NAME = re.compile(
    rf"(?P<id>{_PART}/{_PART})(@(?P<revision>[^/]+))?(/(?P<folder>.+?))?/?", re.ASCII
)
_OWNER = re.compile(rf"{_PART}/?", re.ASCII)
_KEYS = ("author", "search", "tag", "limit")
_TASK = "image-classification"
_MOST = 100
_AT_ONCE = 16


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


@dataclass(frozen=True)
class HubRepository(SelectingRepository):
    """Models of the hub; each is a teacher.

    Attributes:
        models: those that are named.
        searches: those that are looked for.
        address: the hub.
        prefix: what stands before owner and name.
    """

    models: tuple[HubModel, ...] = ()
    searches: tuple[Search, ...] = ()
    address: str = field(default=HUB_SCHEME)
    prefix: str = field(default="hf")

    @classmethod
    def of(cls, address: str) -> HubRepository:
        """What an address names.

        Raises:
            UserError: it names nothing, or the hub's library is missing.
        """
        hub_library()
        rest = address.removeprefix(HUB_SCHEME)
        if "?" in rest:
            author, _, query = rest.partition("?")
            search = Search.parse(address, query)
            author = author.rstrip("/")
            return cls(searches=(replace(search, author=author) if author else search,))
        if _OWNER.fullmatch(rest):
            return cls(searches=(Search(author=rest.rstrip("/")),))
        return cls((HubModel.parse(rest),))

    @classmethod
    def of_one(cls, teacher: str) -> HubRepository:
        """One teacher by its name on a leaderboard."""
        return cls((HubModel.parse(teacher.removeprefix("hf/")),))

    def joined(self, other: Self) -> Self:
        """What either names."""
        return replace(
            self, models=self.models + other.models, searches=self.searches + other.searches
        )

    def cards(self, tell: Callable[[int, int], object] = lambda *_: None) -> list[Card]:
        """See :meth:`Repository.cards`: two requests a model; one that cannot be read has a row."""
        found = [model for search in self.searches for model in search.models()]
        models = list(dict.fromkeys([*self.models, *found]))
        if not models:
            raise UserError(
                "the hub finds no image classifier: search for other words, or name a model"
            )
        cards: list[Card] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for card in pool.map(self._card, models):
                tell(len(cards), len(models))
                cards.append(card)
        tell(len(models), len(models))
        return cards

    @contextmanager
    def weights(
        self, card: TeacherCard, cache: LocalCache | None = None, version: str = ""
    ) -> Iterator[Path]:
        """See :meth:`Repository.weights`; they stay in the hub's own cache."""
        del cache, version
        model = HubModel.parse(card.folder)
        name = card.weights_file.rpartition("/")[2]
        yield hub_file(model.id, [model.file(name)], model.revision)

    def _card(self, model: HubModel) -> Card:
        teacher = f"{self.prefix}/{model.name}"
        try:
            details = _details(model)
            folder = TeacherFolder(
                teacher, self.address, model.name, details.sizes, details.versions
            )
            card = read_card(
                folder,
                _content(model, details, CARD_FILE),
                _content(model, details, PREPROCESSOR_FILE),
            )
        except TeacherError as error:
            digest = hashlib.sha256(b"").hexdigest()
            return RejectedCard(teacher, self.address, error.status, error.reason, 0, digest)
        if isinstance(card, RejectedCard):
            return card
        name = card.weights_file.rpartition("/")[2]
        return replace(
            card, pin=details.sha256.get(name, ""), license=card.license or details.license
        )


@dataclass(frozen=True)
class _Details:
    """What the hub or its cache says of a teacher's files: sizes, marks, SHA-256 of large ones."""

    sizes: dict[str, int]
    versions: dict[str, str]
    sha256: dict[str, str]
    license: str | None


def is_hub(address: str) -> bool:
    """Whether an address is of models of the hub, and not of files that lie there."""
    rest = address.removeprefix(HUB_SCHEME)
    return address.startswith(HUB_SCHEME) and not rest.startswith(_NO_MODELS)


def _details(model: HubModel) -> _Details:
    hub = hub_library()
    try:
        if is_offline():
            find = partial(hub.snapshot_download, model.id, revision=model.revision)
            return _of_cache(Path(find(local_files_only=True)), model)
        ask = partial(hub.HfApi().model_info, model.id, revision=model.revision)
        info = asked(partial(ask, files_metadata=True))
    except Exception as error:
        raise TeacherError(Status.INVALID, f"{model.id} {why(error, model.id)}") from error
    mine = dict(_inside(model, info.siblings or ()))
    large = {name: one.lfs.sha256 for name, one in mine.items() if one.lfs}
    license = (info.card_data or {}).get("license")
    return _Details(
        {name: int(one.size or 0) for name, one in mine.items()},
        {name: large.get(name) or str(one.blob_id) for name, one in mine.items()},
        large,
        None if license is None else str(license),
    )


def _of_cache(snapshot: Path, model: HubModel) -> _Details:
    """The same of a snapshot in the cache: links to blobs, whose names are their digests."""
    files = {path.name: path for path in (snapshot / model.folder).glob("*") if path.is_file()}
    return _Details(
        {name: path.stat().st_size for name, path in files.items()},
        {name: path.resolve().name for name, path in files.items()},
        {},
        None,
    )


def _inside(model: HubModel, files: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The files of the teacher's folder itself, by their own names."""
    for one in files:
        folder, _, name = str(one.rfilename).rpartition("/")
        if folder == model.folder:
            yield name, one


def _content(model: HubModel, details: _Details, name: str) -> bytes | None:
    """A small file of the teacher, if it has it."""
    size = details.sizes.get(name)
    if size is None:
        return None
    if size > LARGEST_CARD:
        raise card_too_large(name, size)
    return hub_file(model.id, [model.file(name)], model.revision).read_bytes()
