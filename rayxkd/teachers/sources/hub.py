"""``hf://``: models of a hub, by name, by owner, or by a search."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from rayxkd.cache import LocalCache
from rayxkd.errors import UserError
from rayxkd.teachers.card import (
    CARD_FILE,
    PREPROCESSOR_FILE,
    RejectedCard,
    TeacherCard,
    TeacherFolder,
)
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.reading import read_card
from rayxkd.teachers.repository import Card, SelectingRepository
from rayxkd.teachers.sources.hub_details import details_of, small_file
from rayxkd.teachers.sources.hub_files import hub_file, hub_library
from rayxkd.teachers.sources.hub_names import HUB_SCHEME, HubModel, Search

# Other kinds of the hub's repositories are files like any other.
_NO_MODELS = ("datasets/", "spaces/", "buckets/")
_OWNER = re.compile(r"[\w.-]+/?", re.ASCII)
_AT_ONCE = 16


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
            details = details_of(model)
            folder = TeacherFolder(
                teacher, self.address, model.name, details.sizes, details.versions
            )
            card = read_card(
                folder,
                small_file(model, details, CARD_FILE),
                small_file(model, details, PREPROCESSOR_FILE),
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


def is_hub(address: str) -> bool:
    """Whether an address is of models of the hub, and not of files that lie there."""
    rest = address.removeprefix(HUB_SCHEME)
    return address.startswith(HUB_SCHEME) and not rest.startswith(_NO_MODELS)
