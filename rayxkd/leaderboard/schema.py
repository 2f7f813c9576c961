"""The leaderboard's columns: types, units, direction and meaning, written into every file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rayxkd.errors import UserError, some_of

SCHEMA_VERSION = 1
METADATA_KEY = b"rayxkd"

# name, type, unit, which way is better, meaning
_COLUMNS: tuple[tuple[str, pa.DataType, str, str, str], ...] = (
    ("rank", pa.int32(), "", "lower", "place by transport cost; empty unless status is ok"),
    ("teacher", pa.string(), "", "", "name of the teacher, unique on this leaderboard"),
    ("status", pa.string(), "", "", "how the assessment ended"),
    ("reason", pa.string(), "", "", "why it ended so, empty for ok"),
    ("transport_cost", pa.float64(), "", "lower", "mean OT cost from predictions to reference"),
    ("transport_cost_low", pa.float64(), "", "lower", "lower end of its 95 % bootstrap interval"),
    ("transport_cost_high", pa.float64(), "", "lower", "upper end of its 95 % bootstrap interval"),
    ("relative_cost", pa.float64(), "", "lower", "cost over that of random pairing; 1 = unrelated"),
    ("tied", pa.bool_(), "", "", "the interval overlaps that of the leader"),
    ("num_classes", pa.int32(), "classes", "", "K, the teacher's classes"),
    ("num_features", pa.int32(), "", "", "D, the width of its features"),
    ("parameters", pa.int64(), "", "lower", "numbers in the model"),
    ("images_seen", pa.int64(), "images", "lower", "probe images that it was asked about"),
    ("load_seconds", pa.float64(), "s", "lower", "reading, checking and building the model"),
    (
        "forward_seconds",
        pa.float64(),
        "s",
        "lower",
        "preprocessing and forward pass; empty if known",
    ),
    ("transport_seconds", pa.float64(), "s", "lower", "ground cost, transport and interval"),
    ("metric_seconds", pa.float64(), "s", "lower", "all other metrics"),
    ("device", pa.string(), "", "", "where it ran"),
    ("attempts", pa.int32(), "", "lower", "how often it was tried"),
    ("license", pa.string(), "", "", "licence, as its card says"),
    ("repository", pa.string(), "", "", "address of the repository that it belongs to"),
    ("temperature", pa.float64(), "", "", "temperature of its softmax in the ground cost"),
    (
        "cost_prior",
        pa.string(),
        "",
        "",
        "what its learned cost shrinks towards: semantic (class names) or cooccurrence; empty for "
        "other costs",
    ),
    ("weights_bytes", pa.int64(), "bytes", "lower", "size of its weights file"),
    ("weights_version", pa.string(), "", "", "the file system's mark of the weights file"),
    ("teacher_digest", pa.string(), "", "", "SHA-256 of card and weights"),
    ("probe_digest", pa.string(), "", "", "SHA-256 of the probe set"),
    ("config_digest", pa.string(), "", "", "SHA-256 of the settings that change results"),
    ("rayxkd_version", pa.string(), "", "", "version that made this row"),
    ("finished_at", pa.timestamp("us", tz="UTC"), "", "", "when the assessment ended"),
)
# Columns that files written before them lack: whoever reads such a file finds them empty.
LATER_COLUMNS = frozenset(
    {"metric_seconds", "temperature", "cost_prior", "weights_bytes", "weights_version"}
)
_COST_COLUMNS = ("transport_cost", "transport_cost_low", "transport_cost_high")


def leaderboard_schema(
    metrics: Sequence[str], cost_unit: str, about: Mapping[str, Any]
) -> pa.Schema:
    """The schema of a leaderboard and of its parts.

    Args:
        metrics: names of the other metrics, one column each.
        cost_unit: unit of the transport cost.
        about: what else a reader should know, JSON; kept in the schema's metadata.
    """
    from rayxkd.metrics import metric_named  # readers of a leaderboard need no torch

    columns = list(_COLUMNS)
    place = [name for name, *_ in columns].index("num_classes")
    columns[place:place] = [
        (name, pa.float64(), metric.unit, _direction(metric.higher_is_better), metric.title)
        for name, metric in ((name, metric_named(name)) for name in metrics)
    ]
    fields = [
        make_field(name, kind, cost_unit if name in _COST_COLUMNS else unit, better, meaning)
        for name, kind, unit, better, meaning in columns
    ]
    content = {"schema_version": SCHEMA_VERSION, "metrics": list(metrics), **about}
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(content)})


def fixed_columns() -> dict[str, pa.DataType]:
    """The columns of every leaderboard, in order, with their types."""
    return {name: kind for name, kind, *_ in _COLUMNS}


def with_later_columns(table: pa.Table, where: str) -> pa.Table:
    """A table of an older rayxkd with the columns that were added since, all empty.

    Raises:
        UserError: it lacks others too.
    """
    lacking = set(fixed_columns()) - LATER_COLUMNS - set(table.column_names)
    if lacking:
        raise UserError(
            f"{where} is damaged: it lacks {some_of(sorted(lacking))}; make it anew with rebuild"
        )
    before = ""
    for name, kind, unit, better, meaning in _COLUMNS:
        if name in LATER_COLUMNS and name not in table.column_names:
            place = table.schema.get_field_index(before) + 1
            field = make_field(name, kind, unit, better, meaning)
            table = table.add_column(place, field, pa.nulls(table.num_rows, kind))
        before = name
    return table


def make_field(name: str, kind: pa.DataType, unit: str, better: str, meaning: str) -> pa.Field:
    """A column that says what it means."""
    return pa.field(name, kind, metadata={"unit": unit, "better": better, "description": meaning})


@dataclass(frozen=True)
class Meaning:
    """What a column says of itself; words that it lacks are empty.

    Attributes:
        unit: of its values.
        better: ``higher``, ``lower`` or nothing.
        description: what it holds.
    """

    unit: str
    better: str
    description: str

    @classmethod
    def of(cls, field: pa.Field) -> Meaning:
        """Read what :func:`make_field` wrote."""
        metadata = field.metadata or {}
        unit, better, told = (
            metadata.get(key, b"").decode() for key in (b"unit", b"better", b"description")
        )
        return cls(unit, better, told)


def parquet_of(table: pa.Table, *, bare: bool = False) -> bytes:
    """A table as a Parquet file.

    Args:
        table: what it holds.
        bare: as small as can be for very few rows: without statistics, dictionaries, and what only
            Arrow knows of the types.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer,
        table.schema,
        compression="zstd",
        write_statistics=not bare,
        use_dictionary=not bare,
        store_schema=not bare,
    ) as writer:
        writer.write_table(table)
        if bare and table.schema.metadata:  # it goes with Arrow's schema otherwise
            writer.add_key_value_metadata(table.schema.metadata)
    return buffer.getvalue()


def about_of(schema: pa.Schema, where: str) -> dict[str, Any]:
    """What :func:`leaderboard_schema` kept in the metadata.

    Raises:
        UserError: the file was not written by rayxkd, or by a newer version.
    """
    try:
        about = json.loads(schema.metadata[METADATA_KEY])
        version = int(about["schema_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} is no leaderboard of rayxkd") from error
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{where} has schema version {version}, this rayxkd reads up to {SCHEMA_VERSION}: "
            "upgrade rayxkd"
        )
    return dict(about)


def with_about(schema: pa.Schema, **more: Any) -> pa.Schema:
    """The same schema, with more of what a reader should know."""
    about = {**json.loads(schema.metadata[METADATA_KEY]), **more}
    return schema.with_metadata({**schema.metadata, METADATA_KEY: json.dumps(about)})


def _direction(higher_is_better: bool) -> str:
    return "higher" if higher_is_better else "lower"
