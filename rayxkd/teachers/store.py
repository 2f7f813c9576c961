"""What teachers said, kept in Parquet, so that no teacher is asked twice about the same view.

A row is one view of one image by one teacher. All are known by their digests: the same image in
another task, or the same teacher in another repository, is found again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.transport.predictions import Predictions

# Raised when views or preprocessing change: what was said of others is not found any more.
_VERSION = 1
_FOLDER = "predictions"
_COLUMNS = frozenset({"image_digest", "view", "logits"})


@dataclass(frozen=True, order=True)
class ViewKey:
    """One view of one image.

    Attributes:
        image_digest: SHA-256 of the encoded image, hexadecimal.
        view: number of the view; see :func:`rayxkd.data.views.fixed_view`.
    """

    image_digest: str
    view: int


@dataclass(frozen=True)
class Said:
    """What a teacher said of R views.

    Attributes:
        logits_RK: float32.
        features_RD: float32, or ``None`` for a teacher that shows none.
    """

    logits_RK: NDArray[np.float32]
    features_RD: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.logits_RK)

    @classmethod
    def of(cls, predictions: Predictions) -> Said:
        """Predictions on the CPU as arrays; nothing is copied."""
        features = predictions.features_ND
        return cls(predictions.logits_NK.numpy(), None if features is None else features.numpy())

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Logits and features as tensors; nothing is copied."""
        features = self.features_RD
        return (
            torch.from_numpy(self.logits_RK),
            None if features is None else torch.from_numpy(features),
        )

    def rows(self, index: NDArray[np.int64]) -> Said:
        """Some of the rows."""
        features = self.features_RD
        return Said(self.logits_RK[index], None if features is None else features[index])


class PredictionStore:
    """One teacher's predictions below a directory (any fsspec URL).

    Writers add files and never change one; two that write the same views do no harm. So a file that
    has been read is not read again.
    """

    def __init__(self, storage: Storage, teacher_digest: str) -> None:
        """Open the part of a store that belongs to a teacher; nothing is read yet."""
        self._storage = storage
        self._folder = f"v{_VERSION}/{teacher_digest}"
        self._known: dict[str, pa.Table] = {}

    def write(self, keys: Sequence[ViewKey], said: Said) -> None:
        """Add what the teacher said of some views, in one file.

        Raises:
            UserError: it cannot be written.
        """
        content = _to_parquet(keys, said)
        name = hashlib.sha256("\n".join(map(repr, keys)).encode()).hexdigest()[:32]
        try:
            self._storage.write(f"{self._folder}/{name}.parquet", content)
        except OSError as error:
            raise UserError(
                f"predictions cannot be written to {self._storage.url}: {error}"
            ) from error

    def missing(self, keys: Iterable[ViewKey]) -> list[ViewKey]:
        """The views that the teacher has not been asked about."""
        present = {key for file in self._files() for key in _keys(file)}
        return [key for key in keys if key not in present]

    def read(self, keys: Sequence[ViewKey]) -> Said:
        """What the teacher said, in the order of the keys.

        Raises:
            KeyError: a view is missing.
        """
        parts = [(_keys(file), _from_parquet(file)) for file in self._files()]
        place = {
            key: (part, row)
            for part, (known, _) in enumerate(parts)
            for row, key in enumerate(known)
        }
        found = np.array([place[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        starts = np.cumsum([0, *(len(known) for known, _ in parts)])
        together = _concatenated([said for _, said in parts])
        return together.rows(starts[found[:, 0]] + found[:, 1])

    def remove(self) -> None:
        """Delete all that the teacher said.

        Raises:
            OSError: it cannot be deleted.
        """
        self._known.clear()
        self._storage.remove(self._folder)

    def _files(self) -> list[pa.Table]:
        self._storage.refresh()
        if not self._storage.exists(self._folder):
            return []
        names = [name for name in self._storage.find(self._folder) if name.endswith(".parquet")]
        contents = self._storage.read_many(name for name in names if name not in self._known)
        read = {name: _table(content) for name, content in contents.items()}
        self._known |= {name: table for name, table in read.items() if table is not None}
        return [self._known[name] for name in names if name in self._known]


def predictions_of(leaderboard: str) -> Storage:
    """Where what teachers said is kept: beside the leaderboard on which they stand."""
    return Storage.at(leaderboard).child(_FOLDER)


def _to_parquet(keys: Sequence[ViewKey], said: Said) -> bytes:
    columns: dict[str, pa.Array] = {
        "image_digest": pa.array([key.image_digest for key in keys]),
        "view": pa.array([key.view for key in keys], pa.int32()),
        "logits": _matrix(said.logits_RK),
    }
    if said.features_RD is not None:
        columns["features"] = _matrix(said.features_RD)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def _matrix(rows: NDArray[np.float32]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(rows, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _table(content: bytes | Exception) -> pa.Table | None:
    """A file's table; one that cannot be read counts as not there, and is asked for again."""
    if not isinstance(content, bytes):
        return None
    try:
        # One thread: see rayxkd.leaderboard.journal.table_from.
        table = pq.read_table(pa.BufferReader(content), use_threads=False, pre_buffer=False)
    except (pa.ArrowException, OSError):
        return None
    return table if _COLUMNS.issubset(table.column_names) else None


def _keys(table: pa.Table) -> list[ViewKey]:
    views = table["view"].to_pylist()
    return [ViewKey(*key) for key in zip(table["image_digest"].to_pylist(), views, strict=True)]


def _from_parquet(table: pa.Table) -> Said:
    features = _numbers(table, "features") if "features" in table.column_names else None
    return Said(_numbers(table, "logits"), features)


def _numbers(table: pa.Table, column: str) -> NDArray[np.float32]:
    values = table[column].combine_chunks()
    flat: NDArray[np.float32] = values.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(table), -1)


def _concatenated(parts: Sequence[Said]) -> Said:
    features = [said.features_RD for said in parts]
    known = [rows for rows in features if rows is not None]
    return Said(
        np.concatenate([said.logits_RK for said in parts]),
        np.concatenate(known) if len(known) == len(parts) else None,
    )
