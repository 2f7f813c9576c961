"""Teacher folders at any depth below a path or fsspec URL."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rayxkd.cache import LocalCache
from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers.admission import own_pins
from rayxkd.teachers.card import (
    CARD_FILE,
    PREPROCESSOR_FILE,
    WEIGHT_FILES,
    WEIGHT_SUFFIXES,
    TeacherCard,
    TeacherFolder,
)
from rayxkd.teachers.errors import TeacherError, one_line
from rayxkd.teachers.listing import LARGEST_CARD, check_local, refused_files
from rayxkd.teachers.reading import read_card
from rayxkd.teachers.repository import Card, Repository

_SMALL_FILES = (CARD_FILE, PREPROCESSOR_FILE)
_WEIGHTS = frozenset(WEIGHT_FILES.values())
# Files whose members fsspec shows, and by which protocol.
_ARCHIVES = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar", ".tgz": "tar"}
# Cards that are asked for at a time: an object store answers so many together. Few of them are
# large, and no more than these bytes are held.
_READ_AT_ONCE = 1024
_BYTES_AT_ONCE = 4 * LARGEST_CARD


@dataclass(frozen=True)
class FolderRepository(Repository):
    """Teacher folders; each holds a card and weights.

    A teacher folder is one that holds a ``config.json`` or a weights file.

    Attributes:
        address: as the user gave it.
        storage: where it lies.
        prefix: what its teachers' names begin with.
    """

    address: str
    storage: Storage
    prefix: str

    def cards(self, tell: Callable[[int, int], object] = lambda *_: None) -> list[Card]:
        """See :meth:`Repository.cards`: one listing and the small files, no weights."""
        folders = self._folders()
        cards: list[Card] = []
        for some in _batches(folders):
            tell(len(cards), len(folders))
            cards += self._read(some)
        tell(len(folders), len(folders))
        pins = own_pins(self.storage)
        return cards if pins is None else [pins.applied(card, self.prefix) for card in cards]

    def _read(self, folders: Sequence[TeacherFolder]) -> Iterator[Card]:
        contents = self.storage.read_many(
            _inside(folder.folder, name)
            for folder in folders
            for name in _SMALL_FILES
            if name in folder.files and not folder.refused
        )
        for folder in folders:
            paths = (_inside(folder.folder, name) for name in _SMALL_FILES)
            yield read_card(folder, *map(contents.get, paths))

    @contextmanager
    def weights(
        self, card: TeacherCard, cache: LocalCache | None = None, version: str = ""
    ) -> Iterator[Path]:
        """See :meth:`Repository.weights`."""
        if self.storage.is_local:
            path = self.storage.local_path(card.weights_file)
            if not os.path.lexists(path):
                raise TeacherError(Status.INVALID, f"the weights file {path.name} has disappeared")
            check_local(self.storage, path)
            yield path
        elif cache is not None:
            key = f"{self.storage.url_of(card.weights_file)}\n{version}"
            with cache.file(key, lambda path: self._download(card, path)) as path:
                yield path
        else:
            with tempfile.TemporaryDirectory(prefix="rayxkd-") as folder:
                path = Path(folder) / Path(card.weights_file).name
                self._download(card, path)
                yield path

    def _download(self, card: TeacherCard, path: Path) -> None:
        try:
            self.storage.download(card.weights_file, path)
        except OSError as error:
            reason = f"its weights cannot be read: {one_line(error)}"
            raise TeacherError(Status.INVALID, reason) from error

    @property
    def places(self) -> tuple[Storage, ...]:
        """Its files."""
        return (self.storage,)

    def _folders(self) -> list[TeacherFolder]:
        try:
            if not self.storage.exists():
                raise UserError(f"there is no repository at {self.address}: check the address")
            files = self.storage.find()
            refused = refused_files(self.storage, files)
        except OSError as error:
            raise UserError(f"repository {self.address} cannot be read: {error}") from error
        sizes: dict[str, dict[str, int]] = defaultdict(dict)
        versions: dict[str, dict[str, str]] = defaultdict(dict)
        wrong: dict[str, dict[str, TeacherError]] = defaultdict(dict)
        for path, why in refused.items():
            folder, _, name = path.rpartition("/")
            wrong[folder][name] = why
            sizes[folder].setdefault(name, 0)
        for path, details in files.items():
            folder, _, name = path.rpartition("/")
            sizes[folder][name] = int(details.get("size") or 0)
            if name.endswith(WEIGHT_SUFFIXES):
                versions[folder][name] = self.storage.version(path, details)
        found = [
            TeacherFolder(
                # Members of an archive may be written from where it was made: ./folder/file.
                _readable(_inside(self.prefix, folder.removeprefix("./"))),
                self.address,
                folder,
                names,
                versions[folder],
                wrong[folder],
            )
            for folder, names in sorted(sizes.items())
            if CARD_FILE in names or _WEIGHTS & names.keys()
        ]
        if not found:
            raise UserError(f"repository {self.address} {self._instead_of_teachers()}")
        return found

    def _instead_of_teachers(self) -> str:
        """What the repository is, where it holds none."""
        for suffix, protocol in _ARCHIVES.items():
            if self.address.endswith(suffix) and self.storage.is_file():
                return f"is an archive: give {protocol}://::{self.address}"
        return (
            f"holds no teacher: a teacher is a folder with {CARD_FILE} and model.safetensors or "
            "model.pt2"
        )


def _batches(folders: Sequence[TeacherFolder]) -> Iterator[list[TeacherFolder]]:
    """Folders whose cards are read together."""
    batch: list[TeacherFolder] = []
    size = 0
    for folder in folders:
        if batch and (len(batch) == _READ_AT_ONCE or size >= _BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(folder)
        size += sum(min(folder.files.get(name, 0), LARGEST_CARD) for name in _SMALL_FILES)
    if batch:
        yield batch


def _readable(name: str) -> str:
    """A name that any table can hold and any terminal can show, another one for each folder.

    Local file names may hold bytes that are no text, line ends, or signs that turn text round.
    """
    shown = (one if one.isprintable() and one != "\\" else _escaped(one) for one in name)
    return "".join(shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _inside(folder: str, name: str) -> str:
    return "/".join(part for part in (folder, name) if part)
