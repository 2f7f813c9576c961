"""A leaderboard as its readers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayxkd.errors import UserError
from rayxkd.leaderboard.journal import TABLE_FILE, table_from
from rayxkd.leaderboard.schema import Meaning, about_of, with_later_columns
from rayxkd.storage import Storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        about = about_of(table.schema, where)
        if about.get("kind", TEACHERS_KIND) == TEACHERS_KIND:
            table = with_later_columns(table, where)
        return cls(storage.url, table, about, storage)

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
        return Meaning.of(self.table.schema.field("transport_cost")).unit

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the other metrics' columns."""
        return tuple(self.about["metrics"])

    def teachers_for(self, command: str) -> Leaderboard:
        """Itself, for a command that works on teachers.

        Raises:
            UserError: it holds the trials of a search.
        """
        if self.kind != TEACHERS_KIND:
            raise UserError(
                f"{self.url} holds the trials of a {self.kind}: {command} works on leaderboards "
                "of teachers"
            )
        return self

    def to_pandas(self) -> Any:
        """The table as a pandas data frame."""
        return self.table.to_pandas()

    def to_polars(self) -> Any:
        """The table as a Polars data frame.

        Raises:
            UserError: Polars is not installed.
        """
        try:
            import polars
        except ImportError as error:
            raise UserError("to_polars needs Polars, which is missing: install polars") from error
        return polars.from_arrow(self.table)

    def plot(self) -> Figure:
        """The best 30 with their intervals, those that are tied shaded; a Matplotlib figure."""
        from rayxkd.leaderboard.notebook import figure_of  # Matplotlib takes a second to import

        return figure_of(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the first rows."""
        from rayxkd.leaderboard.notebook import html_of

        return html_of(self)
