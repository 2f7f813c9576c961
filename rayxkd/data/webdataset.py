"""Shards of the WebDataset format: tar archives of ``0001.jpg`` and ``0001.cls``.

https://github.com/webdataset/webdataset: files that differ only behind the first dot of their name
belong together.
"""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rayxkd.data.folders import IMAGE_SUFFIXES
from rayxkd.data.images import ImageSet, Labels, no_labels
from rayxkd.data.labels import labels_of_names
from rayxkd.errors import UserError
from rayxkd.storage import Storage

SHARD_SUFFIX = ".tar"
_LABEL, _JSON = "cls", "json"
_JSON_KEYS = ("label", "cls", "class", "category")
# A label is a word; a larger file beside an image is something else.
_LARGEST_LABEL = 64 * 1024
_CLASSES = ("classnames.txt", "classes.txt")


class WebImageSet(ImageSet):
    """Images in tar archives; archives are listed once, and then read where an image lies.

    The label is in ``.cls``, as a number or a name, or in ``.json`` under ``label``, ``cls``,
    ``class`` or ``category``. ``classnames.txt`` or ``classes.txt`` beside the shards names the
    classes of numbers, one a line.

    Raises:
        UserError: a file that is no tar archive, or is compressed; no images; an image without a
            label where labels are needed.
    """

    def __init__(
        self,
        address: str,
        storage: Storage,
        shards: Sequence[str],
        others: Sequence[str] = (),
        labels: Labels = Labels.NEEDED,
    ) -> None:
        self.address = address
        self._storage = storage
        samples = [sample for shard in shards for sample in _samples(storage, shard)]
        if not samples:
            raise UserError(f"{address} holds no images")
        self._images = [sample.image for sample in samples]
        names = [sample.label for sample in samples]
        self.class_names, self.labels_N = (), no_labels(len(samples))
        if labels.are_read(present=any(name is not None for name in names)):
            known = _class_names(storage, others)
            self.class_names, self.labels_N = labels_of_names(
                address, [name or "" for name in names], known
            )

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`; each archive is opened once."""
        wanted = defaultdict(set)
        for index in indices:
            wanted[self._images[index].shard].add(self._images[index])
        contents: dict[_Place, bytes | None] = {}
        for shard, places in wanted.items():
            contents |= self._read_shard(shard, sorted(places))
        return [contents[self._images[index]] for index in indices]

    def _read_shard(self, shard: str, places: Sequence[_Place]) -> dict[_Place, bytes | None]:
        try:
            with self._storage.open(shard) as file:
                return {place: place.read(file) for place in places}
        except OSError as error:
            url = self._storage.url_of(shard)
            raise UserError(f"{url} cannot be read: {error}") from error


@dataclass(frozen=True, order=True)
class _Place:
    """Where a member's bytes lie."""

    shard: str
    start: int
    size: int

    def read(self, file: Any) -> bytes | None:
        file.seek(self.start)
        content: bytes = file.read(self.size)
        return content if len(content) == self.size else None


@dataclass(frozen=True)
class _Sample:
    image: _Place
    label: str | None


def _samples(storage: Storage, shard: str) -> Iterator[_Sample]:
    """The samples of one archive, in its order."""
    url = storage.url_of(shard)
    members: dict[str, dict[str, _Place]] = defaultdict(dict)
    try:
        with storage.open(shard) as file:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    if member.isreg() and not member.issparse():
                        key, suffix = _split(member.name)
                        members[key][suffix] = _Place(shard, member.offset_data, member.size)
                _check_whole(file, archive.offset)
            for parts in members.values():
                image = next((parts[s] for s in parts if f".{s}".endswith(IMAGE_SUFFIXES)), None)
                if image is not None:
                    yield _Sample(image, _label(file, parts))
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{url} is no uncompressed tar archive: {error}") from error
    except OSError as error:
        raise UserError(f"{url} cannot be read: {error}") from error


def _check_whole(file: Any, end: int) -> None:
    """Refuse an archive that ends within a member, which tarfile takes for its end."""
    size = file.seek(0, 2)
    file.seek(min(end, size))
    if end > size or any(file.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError("it is truncated")


def _split(name: str) -> tuple[str, str]:
    """What a sample is called, and what kind of file this is of it."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix.lower()


def _label(file: Any, parts: dict[str, _Place]) -> str | None:
    for suffix in (_LABEL, _JSON):
        place = parts.get(suffix)
        if place is None or place.size > _LARGEST_LABEL:
            continue
        text = (place.read(file) or b"").decode("utf-8", "replace").strip()
        if suffix == _LABEL:
            return text
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError):
            continue
        for key in _JSON_KEYS:
            if isinstance(entries, dict) and isinstance(entries.get(key), int | str):
                return str(entries[key])
    return None


def _class_names(storage: Storage, files: Sequence[str]) -> list[str]:
    """Names of the classes, where a file beside the shards tells them."""
    for name in _CLASSES:
        if name in files:
            text = storage.read(name).decode("utf-8-sig", "replace")
            return [line.strip() for line in text.splitlines() if line.strip()]
    return []
