"""Parquet in the layout that the ``datasets`` library writes.

``image`` is a struct of ``bytes`` and ``path``, ``label`` an integer; the class names stand in the
schema's metadata under ``huggingface``. A set is one file, or several that follow one another.
Images without labels need no ``label``; where labels are ignored, it may be anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayxkd.data.images import ImageSet, Labels, no_labels
from rayxkd.errors import UserError
from rayxkd.storage import Storage

# Arrow's threads may still hold the file, a Python object, when they are done; one that lets go of
# it while the interpreter ends aborts the process (apache/arrow#33975).
_THREADS = False


class ParquetImageSet(ImageSet):
    """Images in Parquet files; only the row groups that are asked for are read.

    Raises:
        UserError: a file that is no Parquet, or that lacks the image column or the label column
            where labels are needed; no images at all.
    """

    def __init__(
        self,
        address: str,
        storage: Storage,
        files: Sequence[str],
        labels: Labels = Labels.NEEDED,
    ) -> None:
        self.address = address
        self._storage = storage
        parts = [self._read_part(file, labels) for file in files]
        self._groups = [group for part in parts for group in part.groups]
        count = sum(group.rows for group in self._groups)
        if not count:
            raise UserError(f"{address} holds no images")
        self.class_names, self.labels_N = (), no_labels(count)
        if any(part.labels_N is not None for part in parts):
            self.class_names, self.labels_N = _joined_labels(address, parts)

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`."""
        starts = np.cumsum([0, *(group.rows for group in self._groups)])
        wanted = np.asarray(indices)
        group_of = np.searchsorted(starts, wanted, side="right") - 1
        images: dict[int, bytes | None] = {}
        for place in np.unique(group_of):
            inside = wanted[group_of == place]
            column = self._read_group(self._groups[place])
            for index, value in zip(
                inside, column.take(pa.array(inside - starts[place])).to_pylist(), strict=True
            ):
                images[int(index)] = None if value is None else value["bytes"]
        return [images[int(index)] for index in wanted]

    def _read_group(self, group: _RowGroup) -> pa.ChunkedArray:
        try:
            with self._storage.open(group.file) as file:
                parquet = pq.ParquetFile(file, pre_buffer=False)
                return parquet.read_row_group(group.number, ["image"], use_threads=_THREADS)[
                    "image"
                ]
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._storage.url_of(group.file), error) from error

    def _read_part(self, file: str, labels: Labels) -> _Part:
        url = self._storage.url_of(file)
        try:
            with self._storage.open(file) as handle:
                parquet = pq.ParquetFile(handle, pre_buffer=False)
                schema = parquet.schema_arrow
                _check_image(url, schema)
                groups = [
                    _RowGroup(file, number, parquet.metadata.row_group(number).num_rows)
                    for number in range(parquet.num_row_groups)
                ]
                if not labels.are_read(present="label" in schema.names):
                    return _Part(groups)
                _check_label(url, schema)
                column = parquet.read(["label"], use_threads=_THREADS)["label"]
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(url, error) from error
        if column.null_count:
            raise UserError(f"{url}: {column.null_count} images have no label; leave them out")
        return _Part(groups, column.to_numpy().astype(np.int64), _class_names(schema))


@dataclass(frozen=True)
class _RowGroup:
    file: str
    number: int
    rows: int


@dataclass(frozen=True)
class _Part:
    """What one file holds; labels are ``None`` where they are not there or not asked for."""

    groups: list[_RowGroup]
    labels_N: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()


def _joined_labels(
    address: str, parts: Sequence[_Part]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Class names and the labels of all files, int64 [N] in [0, M)."""
    found = [part.labels_N for part in parts if part.labels_N is not None]
    if len(found) < len(parts):
        raise UserError(f"{address}: only some of its Parquet files have a column 'label'")
    names, labels_N = parts[0].names, np.concatenate(found)
    if any(part.names != names for part in parts):
        raise UserError(f"{address}: its Parquet files do not name the same classes")
    most = len(names) or len(labels_N)  # a class has an image, else labels are something else
    if labels_N.min() < 0 or labels_N.max() >= most:
        raise UserError(
            f"{address}: labels run from {labels_N.min()} to {labels_N.max()}, which does not "
            f"fit {most} {'class names' if names else 'images'}: labels must be 0 to the "
            "number of classes less 1"
        )
    return names or tuple(str(label) for label in range(labels_N.max() + 1)), labels_N


def _unreadable(url: str, error: Exception) -> UserError:
    return UserError(f"{url} cannot be read as Parquet: {error}")


def _check_image(url: str, schema: pa.Schema) -> None:
    _check_present(url, schema, "image")
    image = schema.field("image").type
    if not pa.types.is_struct(image) or "bytes" not in [field.name for field in image]:
        raise UserError(f"{url}: column 'image' must be a struct with a field 'bytes', not {image}")


def _check_label(url: str, schema: pa.Schema) -> None:
    _check_present(url, schema, "label")
    label = schema.field("label").type
    if not pa.types.is_integer(label):
        raise UserError(f"{url}: column 'label' must hold integers, not {label}")


def _check_present(url: str, schema: pa.Schema, column: str) -> None:
    if column not in schema.names:
        present = ", ".join(f"'{name}'" for name in schema.names)
        raise UserError(f"{url} has no column '{column}'; its columns are {present}")


def _class_names(schema: pa.Schema) -> tuple[str, ...]:
    """The names that the ``datasets`` library wrote, or none."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
