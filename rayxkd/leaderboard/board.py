"""A leaderboard as its readers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayxkd.errors import UserError
from rayxkd.leaderboard.journal import TABLE_FILE, table_from
from rayxkd.leaderboard.schema import about_of
from rayxkd.storage import Storage

TEACHERS_KIND = "teachers"


@dataclass(frozen=True)
class Leaderboard:
    """The finished table of a scan, or of a search.

    Attributes:
        url: the directory that it was read from, without secrets.
        table: one row a teacher (or a trial), sorted by rank; every column's unit, direction and
            meaning stand in its field's metadata.
        about: settings, probe set and versions of the scan.
        storage: the directory; ``None`` for a table that was just made.
    """

    url: str
    table: pa.Table
    about: dict[str, Any]
    storage: Storage | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, address: str) -> Leaderboard:
        """Read the leaderboard in a directory (path or fsspec URL).

        Raises:
            UserError: there is none, or it cannot be read.
        """
        storage = Storage.at(address)
        where = storage.url_of(TABLE_FILE)
        try:
            if not storage.exists(TABLE_FILE):
                raise UserError(
                    f"there is no leaderboard at {address}: it should hold {TABLE_FILE}, "
                    "which a scan writes when it ends"
                )
            table = table_from(storage.read(TABLE_FILE))
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{where} cannot be read: {error}") from error
        return cls(storage.url, table, about_of(table.schema, where), storage)

    @classmethod
    def of(cls, url: str, table: pa.Table) -> Leaderboard:
        """The leaderboard of a table that was just written to ``url``."""
        return cls(url, table, about_of(table.schema, url))

    @property
    def kind(self) -> str:
        """What its rows are: the ``teachers`` of a scan, or the trials of a ``search``."""
        return str(self.about.get("kind", TEACHERS_KIND))

    @property
    def cost_unit(self) -> str:
        """Unit of the transport cost."""
        metadata = self.table.schema.field("transport_cost").metadata or {}
        return str(metadata.get(b"unit", b"").decode())

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the other metrics' columns."""
        return tuple(self.about["metrics"])

    def to_pandas(self) -> Any:
        """The table as a pandas data frame."""
        return self.table.to_pandas()
