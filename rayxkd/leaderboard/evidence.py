"""Why a teacher has its cost, kept beside the leaderboard: a file a teacher, and the probe images.

``evidence/`` holds one small Parquet file a teacher, which :mod:`rayxkd.leaderboard.explain` and
the report read; ``probe.parquet`` holds the probe images as thumbnails, in the layout of the
``datasets`` library. Both can be deleted: nothing else depends on them.

Legend: N probe images, M target classes, S of the teacher's K classes, P images with pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayxkd.leaderboard.journal import EVIDENCE, PROBE_FILE, key_of, table_from
from rayxkd.leaderboard.schema import parquet_of
from rayxkd.storage import Storage

_DIGEST_KEY = b"rayxkd.probe_digest"
_COPIED_AT_ONCE, _WRITERS = 256, 16

_FLOATS, _INTEGERS = pa.list_(pa.float32()), pa.list_(pa.int32())
# name, type, meaning
_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("repository", pa.string(), "address of the teacher's repository"),
    ("teacher", pa.string(), "name of the teacher"),
    ("teacher_digest", pa.string(), "SHA-256 of card and weights"),
    ("probe_digest", pa.string(), "SHA-256 of the probe set"),
    ("config_digest", pa.string(), "SHA-256 of the settings that change results"),
    ("temperature", pa.float64(), "temperature of the softmax whose mass the map moves"),
    ("source", _INTEGERS, "places of S teacher classes"),
    ("source_names", pa.list_(pa.string()), "their names"),
    ("map", pa.list_(_FLOATS), "share of all mass from each of them to each of M target classes"),
    ("cost", pa.list_(_FLOATS), "ground cost of these pairs, the mean over folds"),
    ("rest", _FLOATS, "share of all mass from all other teacher classes to each target class"),
    ("image_cost", _FLOATS, "transport cost of each of N probe images"),
    ("nearest", _INTEGERS, "target class to which an image's whole prediction costs least"),
    ("pictured", _INTEGERS, "places of P probe images of which the predictions are told"),
    ("top_names", pa.list_(pa.list_(pa.string())), "the likeliest teacher classes of each"),
    ("top_shares", pa.list_(_FLOATS), "their probabilities at temperature 1"),
)
_SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"description": told}) for name, kind, told in _COLUMNS],
    metadata={"rayxkd": json.dumps({"evidence_version": 1})},
)


@dataclass(frozen=True)
class Evidence:
    """What was seen of one teacher; meanings and shapes stand in the table above."""

    repository: str
    teacher: str
    teacher_digest: str
    probe_digest: str
    config_digest: str
    temperature: float
    source_S: NDArray[np.int32]
    source_names: tuple[str, ...]
    map_SM: NDArray[np.float32]
    cost_SM: NDArray[np.float32]
    rest_M: NDArray[np.float32]
    image_cost_N: NDArray[np.float32]
    nearest_N: NDArray[np.int32]
    pictured_P: NDArray[np.int32]
    top_names: tuple[tuple[str, ...], ...]
    top_shares: tuple[tuple[float, ...], ...]

    @property
    def target_mass_M(self) -> NDArray[np.float32]:
        """Share of all mass that each target class receives."""
        total_M: NDArray[np.float32] = self.map_SM.sum(axis=0) + self.rest_M
        return total_M

    def belongs_to(self, row: dict[str, Any]) -> bool:
        """Whether a row of the leaderboard is of the same teacher, probe set and settings."""
        names = ("teacher_digest", "probe_digest", "config_digest")
        return all(row[name] == getattr(self, name) for name in names)


@dataclass(frozen=True)
class ProbePictures:
    """The probe images as they can be shown.

    Attributes:
        probe_digest: SHA-256 of the probe set.
        labels_N: int64, places in ``class_names``.
        indices_N: place of each image in the image set, int64.
        class_names: the M target classes.
        pictures: a JPEG of each, or ``None`` where there is none.
        shown_N: bool, images about which the predictions of every teacher are kept.
    """

    probe_digest: str
    labels_N: NDArray[np.int64]
    indices_N: NDArray[np.int64]
    class_names: tuple[str, ...]
    pictures: tuple[bytes | None, ...]
    shown_N: NDArray[np.bool_]


class EvidenceStore:
    """The evidence below a leaderboard's directory (any fsspec URL)."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, evidence: Evidence) -> None:
        """Keep it, in place of what was known of that teacher.

        Raises:
            OSError: it cannot be written.
        """
        values = [_listed(getattr(evidence, field.name)) for field in fields(evidence)]
        row = dict(zip(_SCHEMA.names, values, strict=True))
        name = _file_of(evidence.repository, evidence.teacher)
        self._storage.write(name, parquet_of(pa.Table.from_pylist([row], schema=_SCHEMA)))

    def read(self, rows: Iterable[dict[str, Any]]) -> dict[str, Evidence]:
        """That of some rows of the leaderboard, by teacher.

        What was not kept, cannot be read, or is of another version of the teacher, the probe set or
        the settings is left out.
        """
        wanted = {_file_of(row["repository"], row["teacher"]): row for row in rows}
        contents = self._storage.read_many(wanted)
        found = {}
        for name, row in wanted.items():
            evidence = _read(contents[name])
            if evidence is not None and evidence.belongs_to(row):
                found[evidence.teacher] = evidence
        return found

    def take(self, other: EvidenceStore, rows: Iterable[tuple[str, str]]) -> None:
        """Copy what another store holds of some teachers, and the probe images if it has them.

        Args:
            other: where they are copied from.
            rows: repository and name of each teacher.

        Raises:
            OSError: one cannot be read or written.
        """
        there = other._storage
        held = there.find(EVIDENCE) if there.exists(EVIDENCE) else {}
        names = [name for name in (_file_of(*row) for row in rows) if name in held]
        if there.exists(PROBE_FILE):
            names.append(PROBE_FILE)
        for start in range(0, len(names), _COPIED_AT_ONCE):
            contents = there.read_many(names[start : start + _COPIED_AT_ONCE])
            with ThreadPoolExecutor(_WRITERS) as writers:
                for _ in writers.map(self._write_copy, contents.items()):
                    pass

    def _write_copy(self, file: tuple[str, bytes | Exception]) -> None:
        name, content = file
        if isinstance(content, Exception):
            raise content
        self._storage.write(name, content)

    def write_pictures(self, pictures: ProbePictures) -> None:
        """Keep the probe images.

        Raises:
            OSError: they cannot be written.
        """
        self._storage.write(PROBE_FILE, parquet_of(_pictures_table(pictures)))

    def read_pictures(self) -> ProbePictures | None:
        """The probe images; ``None`` where they were not kept or cannot be read."""
        try:
            table = table_from(self._storage.read(PROBE_FILE))
            info = json.loads(table.schema.metadata[b"huggingface"])["info"]
            names = info["features"]["label"]["names"]
            return ProbePictures(
                probe_digest=table.schema.metadata[_DIGEST_KEY].decode(),
                labels_N=np.array(table["label"].to_pylist(), dtype=np.int64),
                indices_N=np.array(table["index"].to_pylist(), dtype=np.int64),
                class_names=tuple(map(str, names)),
                pictures=tuple(image and image["bytes"] for image in table["image"].to_pylist()),
                shown_N=np.array(table["shown"].to_pylist(), dtype=np.bool_),
            )
        except (OSError, pa.ArrowException, LookupError, TypeError, ValueError):
            return None


def _file_of(repository: str, teacher: str) -> str:
    return f"{EVIDENCE}/{key_of(repository, teacher)}.parquet"


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _read(content: bytes | Exception) -> Evidence | None:
    if not isinstance(content, bytes):
        return None
    try:
        row = table_from(content).to_pylist()[0]
        return _evidence_of(row)
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError):
        return None


def _evidence_of(row: dict[str, Any]) -> Evidence:
    """One row of the file.

    Raises:
        ValueError: lists whose lengths do not fit together.
    """
    targets, sources = len(row["rest"]), len(row["source_names"])

    def matrix(name: str) -> NDArray[np.float32]:
        return np.array(row[name], dtype=np.float32).reshape(sources, targets)

    return Evidence(
        **{name: row[name] for name in _SCHEMA.names[:6]},
        source_S=np.array(row["source"], dtype=np.int32).reshape(sources),
        source_names=tuple(row["source_names"]),
        map_SM=matrix("map"),
        cost_SM=matrix("cost"),
        rest_M=np.array(row["rest"], dtype=np.float32),
        image_cost_N=np.array(row["image_cost"], dtype=np.float32),
        nearest_N=np.array(row["nearest"], dtype=np.int32),
        pictured_P=np.array(row["pictured"], dtype=np.int32),
        top_names=tuple(map(tuple, row["top_names"])),
        top_shares=tuple(map(tuple, row["top_shares"])),
    )


def _pictures_table(pictures: ProbePictures) -> pa.Table:
    images = [
        None if content is None else {"bytes": content, "path": f"{place:05d}.jpg"}
        for place, content in enumerate(pictures.pictures)
    ]
    columns = {
        "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "label": pa.array(pictures.labels_N),
        "index": pa.array(pictures.indices_N),
        "shown": pa.array(pictures.shown_N),
    }
    metadata = _datasets_metadata(pictures.class_names)
    metadata[_DIGEST_KEY.decode()] = pictures.probe_digest
    return pa.table(columns).replace_schema_metadata(metadata)


def _datasets_metadata(class_names: Sequence[str]) -> dict[str, str]:
    """What the ``datasets`` library reads to show images and labels."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
        "index": {"dtype": "int64", "_type": "Value"},
        "shown": {"dtype": "bool", "_type": "Value"},
    }
    return {"huggingface": json.dumps({"info": {"features": features}})}
