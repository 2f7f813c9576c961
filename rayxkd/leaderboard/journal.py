"""The leaderboard's directory: settings, one part per finished teacher, and the finished table.

``scan.json`` says what the scan was asked, ``parts/`` holds one Parquet file a teacher, each
written atomically, and ``leaderboard.parquet`` is made of them. Whatever kills a scan, the parts
that were written are whole.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rayxkd.claim import Claim
from rayxkd.errors import UserError
from rayxkd.leaderboard.assessment import Assessment
from rayxkd.leaderboard.ranking import ranked_table
from rayxkd.leaderboard.schema import METADATA_KEY, about_of, parquet_of
from rayxkd.lease import Lease
from rayxkd.storage import Storage

TABLE_FILE = "leaderboard.parquet"
SCAN_FILE = "scan.json"
PARTS = "parts"
# The schema of the table with all that it says of its columns, which parts need not repeat.
SCHEMA_FILE = "schema.parquet"
# What is kept beside the rows to explain them; see :mod:`rayxkd.leaderboard.evidence`.
EVIDENCE = "evidence"
PROBE_FILE = "probe.parquet"
# What a race learnt on its way; see :mod:`rayxkd.assess.racing.ledger`.
RACE = "race"


@dataclass
class Contents:
    """What lies in a journal.

    Attributes:
        assessments: every finished teacher.
        schema: of the newest of their parts; ``None`` where there is none.
        unreadable: files that should be parts, but cannot be read.
    """

    assessments: list[Assessment]
    schema: pa.Schema | None
    unreadable: list[str]


class Journal:
    """One leaderboard directory, for the scan that writes it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._claim = Claim(storage, SCAN_FILE, "leaderboard")
        self._written: pa.Schema | None = None
        self._first = threading.Lock()

    @property
    def url(self) -> str:
        """Where it lies."""
        return self._storage.url

    def lease(self, tell: Callable[[str], None]) -> Lease:
        """The right to write here, while its context lasts.

        Raises:
            UserError: the directory holds something else.
        """
        self._claim.check_ours()
        return Lease(self._storage, "scan", tell=tell)

    def begin(self, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Check that the directory is free or was begun with the same settings, and note them.

        Args:
            settings: what the rows depend on, JSON values by the name of their option.
            fresh: throw away what an earlier scan left.

        Raises:
            UserError: the directory holds something else, was written with other settings, or
                cannot be written.
        """
        self._claim.begin(
            settings,
            partial(self._compare, settings),
            fresh=fresh,
            entries=(PARTS, TABLE_FILE, SCHEMA_FILE, EVIDENCE, PROBE_FILE, RACE),
        )

    def write_part(self, assessment: Assessment, schema: pa.Schema) -> None:
        """Record one finished teacher, in place of what was known of it."""
        self._write_schema(schema)
        row = {**assessment.as_row(), "rank": None, "tied": None}
        table = pa.Table.from_pylist([row], schema=_bare(schema))
        self._storage.write(_part_name(assessment), parquet_of(table, bare=True))

    def _write_schema(self, schema: pa.Schema) -> None:
        """Once, before the first part: a part is of no use to those who cannot read it."""
        with self._first:
            if self._written is None or not schema.equals(self._written, check_metadata=True):
                self._storage.write(SCHEMA_FILE, parquet_of(schema.empty_table()))
                self._written = schema

    def _read_schema(self) -> pa.Schema | None:
        """The schema of the parts; ``None`` in journals of before, whose parts hold it."""
        try:
            return table_from(self._storage.read(SCHEMA_FILE)).schema
        except (OSError, pa.ArrowException):
            return None

    def read_parts(self) -> list[Assessment]:
        """Every finished teacher; a part that cannot be read counts as not finished."""
        return self.contents().assessments

    def contents(self) -> Contents:
        """Every finished teacher, and what there is besides."""
        if not self._storage.exists(PARTS):
            return Contents([], None, [])
        files = [name for name in self._storage.find(PARTS) if name.endswith(".parquet")]
        found = Contents([], None, [])
        newest = None
        for name, content in self._storage.read_many(files).items():
            part = _read_part(content)
            if part is None:
                found.unreadable.append(name)
                continue
            assessment, schema = part
            found.assessments.append(assessment)
            if newest is None or assessment.finished_at > newest:
                newest, found.schema = assessment.finished_at, schema
        if found.schema is not None:
            found.schema = self._read_schema() or found.schema
        return found

    def write_table(self, assessments: Iterable[Assessment], schema: pa.Schema) -> pa.Table:
        """Rank the assessments and write the finished table."""
        table = ranked_table(assessments, schema)
        self._storage.write(TABLE_FILE, parquet_of(table))
        return table

    def _compare(self, settings: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            if earlier.get(name) != value:
                raise self._claim.differs(name, earlier.get(name), value, "written")


def table_from(content: bytes) -> pa.Table:
    """A Parquet file's table, read by this thread alone.

    Arrow's threads may still hold a Python object when they are done; one that lets go of it while
    the interpreter ends aborts the process (apache/arrow#33975).
    """
    # Not pq.read_table: it would import Arrow's data sets, and with them pandas where that is.
    file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
    return file.read(use_threads=False)


def _bare(schema: pa.Schema) -> pa.Schema:
    """Columns and their types, and what is needed to read them: a fifth of the bytes."""
    about = about_of(schema, PARTS)
    kept = {name: about[name] for name in ("schema_version", "metrics")}
    fields = [pa.field(field.name, field.type) for field in schema]
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(kept)})


def key_of(repository: str, teacher: str) -> str:
    """What a teacher's files are called, whatever its name holds."""
    return hashlib.sha256(f"{repository}\n{teacher}".encode()).hexdigest()[:32]


def _part_name(assessment: Assessment) -> str:
    return f"{PARTS}/{key_of(assessment.repository, assessment.teacher)}.parquet"


def _read_part(content: bytes | Exception) -> tuple[Assessment, pa.Schema] | None:
    if not isinstance(content, bytes):
        return None
    try:
        table = table_from(content)
        metrics = tuple(about_of(table.schema, PARTS)["metrics"])
        assessment = Assessment.from_row(table.to_pylist()[0], metrics)
    except (pa.ArrowException, UserError, OSError, LookupError, TypeError, ValueError):
        return None
    return None if assessment.finished_at is None else (assessment, table.schema)
