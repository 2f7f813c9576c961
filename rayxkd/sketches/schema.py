"""The columns of an index: types, units and meaning, written into every file."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from rayxkd.errors import UserError

SCHEMA_VERSION = 1
METADATA_KEY = b"rayxkd"

# name, type, unit, meaning
_COLUMNS: tuple[tuple[str, pa.DataType, str, str], ...] = (
    ("teacher", pa.string(), "", "name of the teacher"),
    ("repository", pa.string(), "", "address of the repository that it belongs to"),
    ("num_classes", pa.int32(), "classes", "K, the teacher's classes"),
    ("class_names", pa.list_(pa.string()), "", "what it calls them; empty where it does not say"),
    ("parameters", pa.int64(), "", "numbers in the model"),
    (
        "prototypes",
        pa.list_(pa.float32()),
        "",
        "P x D numbers, row after row: mean direction in the common space of the reference images "
        "of each class, weighted by the teacher's probabilities; in half precision",
    ),
    ("mass", pa.list_(pa.float32()), "", "P shares of the reference images; they sum to one"),
    (
        "prototype_classes",
        pa.list_(pa.int32()),
        "",
        "which class each prototype is of; -1 is all classes that have none of their own",
    ),
    ("confidence", pa.float64(), "", "mean of its largest probability on the reference images"),
    (
        "information",
        pa.float64(),
        "nats",
        "entropy of its mean answer less the mean entropy of its answers",
    ),
    ("forward_seconds", pa.float64(), "s", "preprocessing and forward pass"),
    ("weights_version", pa.string(), "", "the file system's mark of card and weights"),
    ("teacher_digest", pa.string(), "", "SHA-256 of card and weights"),
    ("space_digest", pa.string(), "", "SHA-256 of the common space and the reference images"),
    ("rayxkd_version", pa.string(), "", "version that made this row"),
    ("made_at", pa.timestamp("us", tz="UTC"), "", "when; the newest row of a teacher counts"),
)


def index_schema(dimensions: int, about: dict[str, Any]) -> pa.Schema:
    """The schema of an index's files.

    Args:
        dimensions: D of the prototypes.
        about: what else a reader should know, JSON; kept in the schema's metadata.
    """
    fields = [
        pa.field(name, kind, metadata={"unit": unit, "description": meaning})
        for name, kind, unit, meaning in _COLUMNS
    ]
    content = {"schema_version": SCHEMA_VERSION, "dimensions": dimensions, **about}
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(content)})


def check_schema(schema: pa.Schema, where: str) -> None:
    """Refuse what is no file of an index.

    Raises:
        UserError: another file, or one of a newer rayxkd.
    """
    try:
        version = int(json.loads(schema.metadata[METADATA_KEY])["schema_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} is no sketches of rayxkd: remove it") from error
    lacking = [name for name, *_ in _COLUMNS if name not in schema.names]
    if version > SCHEMA_VERSION or lacking:
        raise UserError(
            f"{where} has schema version {version}, this rayxkd reads {SCHEMA_VERSION}: upgrade "
            "rayxkd, or make the index anew with --fresh"
        )
