"""How often a column of a leaderboard has which value."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def counted(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Every value and how often it is there, the most frequent first."""
    counts = pc.value_counts(column.drop_null()).to_pylist()
    found = [(entry["values"], entry["counts"]) for entry in counts]
    return sorted(found, key=lambda entry: (-entry[1], entry[0]))
