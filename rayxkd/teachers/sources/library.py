"""Teachers that a library knows by name and downloads by itself."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from rayxkd.cache import LocalCache
from rayxkd.errors import UserError, unknown_name
from rayxkd.teachers.card import CARD_FILE, RejectedCard, TeacherCard
from rayxkd.teachers.entries import Entries
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.repository import Card, SelectingRepository
from rayxkd.teachers.sources.query import RANDOM, Selection
from rayxkd.teachers.timm_layout import read_preprocessing

# What an untrained network is drawn with.
SEED_FILE = "seed.json"
_SEED = 0


@dataclass(frozen=True)
class LibraryRepository(SelectingRepository):
    """The classifiers of a library, or some of them.

    With pretrained weights, or as architectures with random weights: a control that any teacher
    should beat.

    Attributes:
        address: the library, and whether its networks are untrained: not what is selected, so that
            a row is known again in another selection.
        prefix: likewise.
        selections: each adds teachers.
    """

    address: str
    prefix: str
    selections: tuple[Selection, ...]

    library: ClassVar[str]
    #: The key of the loader for weights of the library's own, and for those that are drawn.
    pretrained_loader: ClassVar[str]
    untrained_loader: ClassVar[str]

    @classmethod
    def of(cls, selection: Selection) -> Self:
        """What one address selects."""
        if selection.untrained:
            address = f"{selection.scheme}?weights={RANDOM}"
            return cls(address, f"{cls.library}-untrained", (selection,))
        return cls(selection.scheme, cls.library, (selection,))

    @classmethod
    def of_one(cls, selection: Selection, teacher: str) -> Self:
        """One teacher by its name on a leaderboard."""
        whole = cls.of(selection)
        name = teacher.removeprefix(f"{whole.prefix}/")
        return replace(whole, selections=(replace(selection, patterns=(name,)),))

    def joined(self, other: Self) -> Self:
        """What either selects."""
        return replace(self, selections=self.selections + other.selections)

    @property
    def untrained(self) -> bool:
        """Whether the networks have random weights."""
        return self.selections[0].untrained

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all its teachers.

        Raises:
            UserError: the library is not installed.
        """

    @abstractmethod
    def license_of(self, name: str) -> str | None:
        """The licence of a teacher's weights, where it is known."""

    @abstractmethod
    def parameters_of(self, name: str) -> int:
        """How many a teacher has."""

    @abstractmethod
    def describe(self, name: str) -> Description:
        """What the library says of a teacher.

        Raises:
            TeacherError: it cannot be assessed.
        """

    @abstractmethod
    def fetch(self, card: TeacherCard) -> Path:
        """The weights in the library's own cache, downloaded if they are not there.

        Raises:
            TeacherError: they cannot be downloaded.
        """

    def cards(self, tell: Callable[[int, int], object] = lambda *_: None) -> list[Card]:
        """See :meth:`Repository.cards`; nothing is downloaded."""
        names = self._selected()
        found = []
        for done, name in enumerate(names):
            tell(done, len(names))
            if any(self._takes(one, name) for one in self.selections):
                found.append(self._card(name))
        tell(len(names), len(names))
        if not found:
            raise UserError(f"{self._told()} leaves no teacher: allow more licenses or parameters")
        return found

    @contextmanager
    def weights(
        self, card: TeacherCard, cache: LocalCache | None = None, version: str = ""
    ) -> Iterator[Path]:
        """See :meth:`Repository.weights`; they stay in the library's own cache."""
        del version
        if not self.untrained:
            yield self.fetch(card)
            return
        cache = cache or LocalCache.of_user("weights")
        with cache.file(f"{SEED_FILE} {_SEED}", _write_seed) as path:
            yield path

    def _selected(self) -> list[str]:
        known = self.names()
        names = [name for name in known if any(one.takes(name) for one in self.selections)]
        if not names:
            patterns = ",".join(self.selections[-1].patterns)
            architectures = {name.split(".", 1)[0] for name in known}
            near = unknown_name(f"teacher of {self.address}", patterns.strip("*"), architectures)
            hint = str(near).split(" Known:")[0]
            raise UserError(f"{hint.strip()} Names may hold * (timm://resnet18*)")
        return names

    def _takes(self, selection: Selection, name: str) -> bool:
        most = selection.max_parameters
        return (
            selection.takes(name)
            and selection.allows(self.license_of(name))
            and (most is None or self.parameters_of(name) <= most)
        )

    def _told(self) -> str:
        return " ".join(one.address for one in self.selections)

    def _card(self, name: str) -> Card:
        teacher = f"{self.prefix}/{name}"
        try:
            said = self.describe(name)
            return said.card(teacher, self.address, name, self._loader())
        except TeacherError as error:
            digest = hashlib.sha256(b"").hexdigest()
            return RejectedCard(teacher, self.address, error.status, error.reason, 0, digest)

    def _loader(self) -> str:
        return self.untrained_loader if self.untrained else self.pretrained_loader


@dataclass(frozen=True)
class Description:
    """What a library says of one of its teachers.

    Attributes:
        architecture: what the library builds it by.
        num_classes: K.
        num_features: D, where it is known.
        label_names: K names, or none.
        pretrained_cfg: how it wants its images, in the words of a card.
        model_args: what the loader needs besides.
        license: of the weights.
        weights_bytes: about how large they are.
        weights_name: the file's name.
        mark: what changes when the weights do.
        pin: what their SHA-256 begins with, where the library says so.
        accuracy: on its own classes, in [0, 1], where the library says so.
    """

    architecture: str
    num_classes: int
    num_features: int | None
    label_names: tuple[str, ...]
    pretrained_cfg: Mapping[str, Any]
    model_args: Mapping[str, Any]
    license: str | None
    weights_bytes: int
    weights_name: str
    mark: str
    pin: str = ""
    accuracy: float | None = None

    def card(self, teacher: str, repository: str, folder: str, loader: str) -> TeacherCard:
        """As a card, whose digest is that of all that makes the teacher what it is."""
        said = [
            *(loader, self.architecture, self.num_classes, self.label_names),
            *(dict(self.pretrained_cfg), dict(self.model_args), self.mark),
        ]
        return TeacherCard(
            teacher=teacher,
            repository=repository,
            folder=folder,
            library=loader,
            architecture=self.architecture,
            num_classes=self.num_classes,
            num_features=self.num_features,
            label_names=self.label_names,
            model_args=self.model_args,
            preprocessing=read_preprocessing(Entries(CARD_FILE, self.pretrained_cfg)),
            license=self.license,
            weights_bytes=self.weights_bytes,
            card_digest=hashlib.sha256(json.dumps(said).encode()).hexdigest(),
            weights_version=self.mark,
            pin=self.pin,
            own_accuracy=self.accuracy,
            weights_name=self.weights_name,
        )


def _write_seed(path: Path) -> None:
    path.write_text(json.dumps({"seed": _SEED}))
