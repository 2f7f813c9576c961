"""An index: one directory, whose sketches are a Parquet data set that is only ever added to.

``index.json`` says what the sketches were made with, ``space.npz`` holds the projection into the
common space, and ``sketches/`` one Parquet file an append, each written atomically. Of several
rows of one teacher the newest counts.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayxkd.claim import Claim
from rayxkd.errors import UserError
from rayxkd.sketches.costs import Sketches
from rayxkd.sketches.schema import check_schema, index_schema
from rayxkd.sketches.space import Projection
from rayxkd.storage import Storage

INDEX_FILE, SPACE_FILE, FOLDER = "index.json", "space.npz", "sketches"
_KIND = "index"
Key = tuple[str, str]


@dataclass(frozen=True)
class IndexSpace:
    """What all sketches of an index have in common.

    Attributes:
        address: of the space, as ``--space`` names it.
        network_digest: of what makes its features.
        reference_digest: of the reference images.
        projection: from features to the space.
    """

    address: str
    network_digest: str
    reference_digest: str
    projection: Projection

    @property
    def digest(self) -> str:
        """SHA-256 over space and reference images: sketches of two digests do not compare."""
        content = f"{self.network_digest} {self.reference_digest}"
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Known:
    """The newest rows of all teachers.

    Attributes:
        table: one row a teacher.
    """

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def keys(self) -> list[Key]:
        """Repository and teacher of each row."""
        columns = (self.table["repository"].to_pylist(), self.table["teacher"].to_pylist())
        return list(zip(*columns, strict=True))

    def sketches(self, rows: Sequence[int] | None = None) -> Sketches:
        """The sketches of some rows, or of all; nothing is copied where it can be helped."""
        table = self.table if rows is None else self.table.take(pa.array(rows, pa.int64()))
        mass = table["mass"].combine_chunks()
        lengths_T = pc.list_value_length(mass).to_numpy().astype(np.int64)
        flat = table["prototypes"].combine_chunks().flatten().to_numpy()
        return Sketches(
            flat.reshape(int(lengths_T.sum()), -1) if len(flat) else np.empty((0, 0), np.float32),
            mass.flatten().to_numpy(),
            np.cumsum(lengths_T),
        )


class SketchStore:
    """One index."""

    def __init__(self, storage: Storage) -> None:
        """Open it; nothing is read yet."""
        self._storage = storage
        self._claim = Claim(storage, INDEX_FILE, _KIND)

    @property
    def url(self) -> str:
        """Where it lies."""
        return self._storage.url

    def begin(self, space: IndexSpace, about: dict[str, Any], *, fresh: bool = False) -> None:
        """Check that the directory is free or holds sketches of the same space, and note it.

        Args:
            space: what sketches are to be made with.
            about: what else a reader should know, JSON values by the name of their option.
            fresh: throw away what is there.

        Raises:
            UserError: it holds something else, sketches of another space or of other reference
                images, or cannot be written.
        """
        settings = {
            "space": space.address,
            "space-network": space.network_digest,
            "reference-images": space.reference_digest,
            **about,
        }
        self._claim.begin(settings, partial(self._compare, settings), fresh=fresh)
        try:
            if not self._storage.exists(SPACE_FILE):
                self._storage.write(SPACE_FILE, _projection_bytes(space.projection))
        except OSError as error:
            raise self._unwritable(error) from error

    def space(self) -> IndexSpace:
        """What its sketches were made with.

        Raises:
            UserError: there is no index, or it is damaged.
        """
        try:
            if not self._storage.exists(INDEX_FILE):
                raise UserError(f"there is no index at {self.url}: make one with rayxkd index")
            note = json.loads(self._storage.read(INDEX_FILE))
            if note["format"] != f"rayxkd {_KIND}":
                raise UserError(f"{self.url} is no index: make one with rayxkd index")
            settings = note["settings"]
            with np.load(io.BytesIO(self._storage.read(SPACE_FILE)), allow_pickle=False) as file:
                projection = Projection(file["mean"], file["axes"])
            return IndexSpace(
                settings["space"],
                settings["space-network"],
                settings["reference-images"],
                projection,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"index {self.url} is damaged ({error}): make it anew with --fresh"
            ) from error

    def append(self, rows: Iterable[dict[str, Any]], space: IndexSpace) -> None:
        """Add sketches, in one file.

        Raises:
            UserError: they cannot be written.
        """
        schema = index_schema(space.projection.axes_FD.shape[1], {"space": space.address})
        table = pa.Table.from_pylist(list(rows), schema=schema)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        name = f"{FOLDER}/{stamp}-{uuid.uuid4().hex[:12]}.parquet"
        try:
            self._storage.write(name, buffer.getvalue())
        except OSError as error:
            raise self._unwritable(error) from error

    def read(self, space: IndexSpace) -> Known:
        """The newest row of every teacher.

        Args:
            space: what they must have been made with.

        Raises:
            UserError: a file cannot be read, or holds sketches of another space.
        """
        self._storage.refresh()
        try:
            there = self._storage.exists(FOLDER)
            names = list(self._storage.find(FOLDER)) if there else []
        except OSError as error:
            raise UserError(f"index {self.url} cannot be read: {error}") from error
        contents = self._storage.read_many(name for name in names if name.endswith(".parquet"))
        dimensions = space.projection.axes_FD.shape[1]
        tables = [self._table(name, content, space) for name, content in contents.items()]
        if not tables:
            return Known(index_schema(dimensions, {}).empty_table())
        table = pa.concat_tables(tables)
        return Known(_newest(table))

    def _table(self, name: str, content: bytes | Exception, space: IndexSpace) -> pa.Table:
        where = self._storage.url_of(name)
        try:
            if isinstance(content, Exception):
                raise content
            # One thread: see rayxkd.leaderboard.journal.table_from.
            file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
            check_schema(file.schema_arrow, where)
            table = file.read(use_threads=False).replace_schema_metadata(None)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{where} cannot be read: {error}; remove it") from error
        others = set(table["space_digest"].unique().to_pylist()) - {space.digest}
        if others:
            raise UserError(
                f"{where} holds sketches of another space or other reference images than its "
                f"{INDEX_FILE} says: they do not compare; remove it"
            )
        return table

    def _compare(self, settings: dict[str, Any], earlier: dict[str, Any]) -> None:
        wanted = {
            "space": "--space",
            "space-network": "--space",
            "reference-images": "--reference, --reference-size or --seed",
        }
        for name, option in wanted.items():
            if earlier.get(name) != settings[name]:
                raise UserError(
                    f"--out {self.url} was begun with another {option} ({earlier.get(name)}, not "
                    f"{settings[name]}): sketches of the two do not compare; give the same, "
                    "another --out, or --fresh to start anew"
                )

    def _unwritable(self, error: Exception) -> UserError:
        return UserError(f"--out {self.url} cannot be written: {error}")


def _newest(table: pa.Table) -> pa.Table:
    """The last row of each teacher by time."""
    order = pc.sort_indices(table, sort_keys=[("made_at", "ascending")]).to_numpy()
    repositories, teachers = table["repository"].to_pylist(), table["teacher"].to_pylist()
    last = {(repositories[row], teachers[row]): int(row) for row in order}
    if len(last) == len(table):
        return table
    return table.take(pa.array(sorted(last.values()), pa.int64()))


def _projection_bytes(projection: Projection) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, mean=projection.mean_F, axes=projection.axes_FD)
    return buffer.getvalue()
