"""Rows on their way into the journal: several at a time, so that the scan waits for none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import pyarrow as pa

from rayxkd.errors import UserError
from rayxkd.leaderboard import Assessment, Journal

# Hundreds of workers finish more teachers a second than one writer brings to an object store.
WRITERS = 32


class Recorder:
    """Writes each row as a part of its own, and keeps all of them for the table.

    Attributes:
        rows: every row so far, those that an earlier scan wrote too.
        schema: of parts and table.
    """

    def __init__(self, journal: Journal, schema: pa.Schema) -> None:
        self.rows: list[Assessment] = []
        self.schema = schema
        self._journal = journal
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="rows")
        self._writing: set[Future[None]] = set()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being written; whatever ended the scan, it is kept."""
        self._writers.shutdown(wait=True)

    def record(self, row: Assessment) -> None:
        """Begin to write a row; wait only where as many as there are writers are on their way.

        Raises:
            UserError: this or an earlier one cannot be written.
        """
        if len(self._writing) >= WRITERS:
            wait(self._writing, return_when=FIRST_COMPLETED)
        self._settle({future for future in self._writing if future.done()})
        self._writing.add(self._writers.submit(self._journal.write_part, row, self.schema))
        self.rows.append(row)

    def table(self) -> pa.Table:
        """Wait until all rows are written, and write the finished table.

        Raises:
            UserError: something cannot be written.
        """
        wait(self._writing)
        self._settle(self._writing)
        with disk_errors(self._journal):
            return self._journal.write_table(self.rows, self.schema)

    def _settle(self, done: set[Future[None]]) -> None:
        self._writing = self._writing - done
        with disk_errors(self._journal):
            for future in done:
                future.result()


@contextmanager
def disk_errors(journal: Journal) -> Iterator[None]:
    """Tell the user what cannot be written.

    Raises:
        UserError: instead of any error of the file system.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--out {journal.url} cannot be written: {error}; what was finished before is kept"
        ) from error
