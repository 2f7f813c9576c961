"""Rows of finished jobs, each job's in a Parquet file of its own, so that nothing is done twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from rayxkd.errors import UserError
from rayxkd.leaderboard import parquet_of
from rayxkd.leaderboard.journal import table_from
from rayxkd.storage import Storage

Row = Mapping[str, Any]
_PARTS = "parts"


class Ledger:
    """One kind of results below a directory (path or any fsspec URL).

    Attributes:
        schema: of the rows.
    """

    def __init__(self, storage: Storage, kind: str, schema: pa.Schema) -> None:
        """Open it; nothing is read yet."""
        self.schema = schema
        self._storage, self._kind = storage, kind

    def done(self) -> set[str]:
        """Names of the jobs whose rows are there, as :meth:`name` makes them."""
        self._storage.refresh()
        folder = f"{_PARTS}/{self._kind}"
        if not self._storage.exists(folder):
            return set()
        return {file.rpartition("/")[2] for file in self._storage.find(folder)}

    @staticmethod
    def name(*key: Any, part: str = "") -> str:
        """The file of the job with that key: digests, names, numbers.

        Args:
            key: what the job's rows depend on.
            part: which part of the job; files of all its parts begin with :meth:`stem` of the key.
        """
        mark = f"_{hashlib.sha256(part.encode()).hexdigest()[:8]}" if part else ""
        return f"{Ledger.stem(*key)}{mark}.parquet"

    @staticmethod
    def stem(*key: Any) -> str:
        """What the file names of a job begin with."""
        return hashlib.sha256("\n".join(map(str, key)).encode()).hexdigest()[:32]

    def write(self, name: str, rows: Sequence[Row]) -> pa.Table:
        """Keep the rows of a job, at once; returns them.

        Raises:
            UserError: they cannot be written.
        """
        table = pa.Table.from_pylist(list(rows), schema=self.schema)
        try:
            self._storage.write(f"{_PARTS}/{self._kind}/{name}", parquet_of(table))
        except OSError as error:
            raise UserError(f"{self._storage.url} cannot be written: {error}") from error
        return table

    def read(self, names: Iterable[str]) -> pa.Table:
        """The rows of those jobs that are there; a file that cannot be read counts as not there."""
        tables = list(self.tables(names).values())
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def tables(self, names: Iterable[str]) -> dict[str, pa.Table]:
        """The same, each file's by its name."""
        there = self.done()
        files = {f"{_PARTS}/{self._kind}/{name}": name for name in names if name in there}
        tables = {}
        for file, content in self._storage.read_many(files).items():
            if not isinstance(content, bytes):
                continue
            try:
                tables[files[file]] = table_from(content).cast(self.schema)
            except (pa.ArrowException, ValueError, OSError):
                continue
        return tables
