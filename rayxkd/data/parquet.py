"""Parquet in the layout that the ``datasets`` library writes.

``image`` is a struct of ``bytes`` and ``path``, ``label`` an integer; the class names stand in the
schema's metadata under ``huggingface``. A set is one file, or several that follow one another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayxkd.data.images import ImageSet
from rayxkd.errors import UserError
from rayxkd.storage import Storage

# Arrow's threads may still hold the file, a Python object, when they are done; one that lets go of
# it while the interpreter ends aborts the process (apache/arrow#33975).
_THREADS = False


class ParquetImageSet(ImageSet):
    """Images in Parquet files; only the row groups that are asked for are read.

    Raises:
        UserError: a file that is no Parquet, or that lacks the image or the label column.
    """

    def __init__(self, address: str, storage: Storage, files: Sequence[str]) -> None:
        self.address = address
        self._storage = storage
        parts = [self._read_part(file) for file in files]
        self._groups = [group for groups, _, _ in parts for group in groups]
        labels_N = np.concatenate([labels for _, labels, _ in parts])
        names = parts[0][2]
        if any(other != names for _, _, other in parts):
            raise UserError(f"{address}: its Parquet files do not name the same classes")
        most = len(names) or len(labels_N)  # a class has an image, else labels are something else
        if len(labels_N) and (labels_N.min() < 0 or labels_N.max() >= most):
            raise UserError(
                f"{address}: labels run from {labels_N.min()} to {labels_N.max()}, which does not "
                f"fit {most} {'class names' if names else 'images'}: labels must be 0 to the "
                "number of classes less 1"
            )
        count = int(labels_N.max()) + 1 if len(labels_N) else 0
        self.class_names = names or tuple(str(label) for label in range(count))
        self.labels_N = labels_N

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

    def _read_part(self, file: str) -> tuple[list[_RowGroup], NDArray[np.int64], tuple[str, ...]]:
        url = self._storage.url_of(file)
        try:
            with self._storage.open(file) as handle:
                parquet = pq.ParquetFile(handle, pre_buffer=False)
                _check_columns(url, parquet.schema_arrow)
                labels = parquet.read(["label"], use_threads=_THREADS)["label"]
                groups = [
                    _RowGroup(file, number, parquet.metadata.row_group(number).num_rows)
                    for number in range(parquet.num_row_groups)
                ]
                names = _class_names(parquet.schema_arrow)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(url, error) from error
        if labels.null_count:
            raise UserError(f"{url}: {labels.null_count} images have no label; leave them out")
        return groups, labels.to_numpy().astype(np.int64), names


@dataclass(frozen=True)
class _RowGroup:
    file: str
    number: int
    rows: int


def _unreadable(url: str, error: Exception) -> UserError:
    return UserError(f"{url} cannot be read as Parquet: {error}")


def _check_columns(url: str, schema: pa.Schema) -> None:
    present = ", ".join(f"'{name}'" for name in schema.names)
    for column in ("image", "label"):
        if column not in schema.names:
            raise UserError(f"{url} has no column '{column}'; its columns are {present}")
    image = schema.field("image").type
    if not pa.types.is_struct(image) or "bytes" not in [field.name for field in image]:
        raise UserError(f"{url}: column 'image' must be a struct with a field 'bytes', not {image}")
    if not pa.types.is_integer(schema.field("label").type):
        raise UserError(
            f"{url}: column 'label' must hold integers, not {schema.field('label').type}"
        )


def _class_names(schema: pa.Schema) -> tuple[str, ...]:
    """The names that the ``datasets`` library wrote, or none."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features["label"]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
