"""A table of paths and labels: ``photos/0001.jpg,daisy``."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from rayxkd.data.folders import IMAGE_SUFFIXES, read_images
from rayxkd.data.images import ImageSet, Labels, no_labels
from rayxkd.data.labels import labels_of_names
from rayxkd.errors import UserError, some_of
from rayxkd.storage import Storage

TABLE_SUFFIXES = (".csv", ".tsv")
_PATHS = ("path", "image", "file", "filename", "file_name", "filepath", "image_path")
_LABELS = ("label", "class", "category", "target", "class_name", "label_name")


class ListedImageSet(ImageSet):
    """Images that a CSV or TSV file names, relative to its own folder.

    The first line names the columns; where it names an image instead, the first column is the path
    and the second the label. Classes are the labels, sorted: whole numbers by their size.

    Raises:
        UserError: no column of paths, none of labels where these are needed, a path that leads out
            of the folder, an image without a label, or no images.
    """

    def __init__(self, address: str, storage: Storage, labels: Labels = Labels.NEEDED) -> None:
        self.address = address
        self._folder = storage.parent
        table = _Table.read(address, storage)
        if not table.paths:
            raise UserError(f"{address} names no images")
        self._files = [_inside(address, self._folder, path) for path in table.paths]
        self.class_names, self.labels_N = (), no_labels(len(self._files))
        if labels.are_read(present=table.labels is not None):
            if table.labels is None:
                wanted = ", ".join(_LABELS)
                raise UserError(f"{address} has no column of labels: call one of them {wanted}")
            self.class_names, self.labels_N = labels_of_names(address, table.labels)

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`."""
        return read_images(self._folder, [self._files[index] for index in indices])


@dataclass(frozen=True)
class _Table:
    """The two columns; labels are ``None`` where there is no such column."""

    paths: list[str]
    labels: list[str] | None

    @classmethod
    def read(cls, address: str, storage: Storage) -> _Table:
        try:
            text = storage.read().decode("utf-8-sig")
            delimiter = "\t" if address.lower().endswith(".tsv") else _delimiter(text)
            rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)]
        except OSError as error:
            raise UserError(f"{address} cannot be read: {error}") from error
        except (UnicodeError, csv.Error) as error:
            raise UserError(f"{address} is no table of paths and labels: {error}") from error
        if not rows:
            raise UserError(f"{address} is empty: write one line an image")
        path, label, first = _columns(address, rows[0])
        short = [number for number, row in enumerate(rows, 1) if len(row) <= max(path, label or 0)]
        if short:
            raise UserError(f"{address}: line {short[0]} has fewer columns than the first")
        rows = rows[first:]
        labels = None if label is None else [row[label].strip() for row in rows]
        return cls([row[path].strip() for row in rows], labels)


def _delimiter(text: str) -> str:
    """A comma, or a semicolon or tab where the first line has no comma."""
    line = text.partition("\n")[0]
    return next((sign for sign in (",", ";", "\t") if sign in line), ",")


def _columns(address: str, first: Sequence[str]) -> tuple[int, int | None, int]:
    """The columns of paths and of labels, and the number of lines that name them."""
    names = [name.strip().lower() for name in first]
    path = next((names.index(name) for name in _PATHS if name in names), None)
    if path is not None:
        label = next((names.index(name) for name in _LABELS if name in names), None)
        return path, label, 1
    if names[0].endswith(IMAGE_SUFFIXES):
        return 0, 1 if len(names) > 1 else None, 0
    shown = some_of(list(first))
    raise UserError(
        f"{address} has no column of paths (it has {shown}): call it one of {', '.join(_PATHS)}"
    )


def _inside(address: str, folder: Storage, path: str) -> str:
    """A path relative to the table's folder."""
    root = folder.root.rstrip("/") + "/"
    relative = posixpath.normpath(path.replace("\\", "/").removeprefix(root))
    if relative.startswith(("/", "..")) or "://" in path or not path:
        raise UserError(
            f"{address}: '{path}' is not below the table's own folder: put the table there, or "
            "the images"
        )
    return relative
