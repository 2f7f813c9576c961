"""The table of a search: one row a trial, in the file and for the readers of a leaderboard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import pyarrow as pa

from rayxkd.leaderboard.schema import METADATA_KEY, SCHEMA_VERSION, make_field

SEARCH_KIND = "search"

# name, type, unit, which way is better, meaning
_COLUMNS: tuple[tuple[str, pa.DataType, str, str, str], ...] = (
    (
        "rank",
        pa.int32(),
        "",
        "lower",
        "place by accuracy; those that trained to the end come first",
    ),
    ("trial", pa.int32(), "", "", "number of the trial, in the order in which they were begun"),
    ("default", pa.bool_(), "", "", "it is the base setting, which nothing stops"),
    ("status", pa.string(), "", "", "ok: trained to the end; stopped: in the worse half by then"),
    ("reason", pa.string(), "", "", "why it failed"),
    ("accuracy", pa.float64(), "", "higher", "on the held-back images, after its last epoch"),
    ("accuracy_low", pa.float64(), "", "higher", "lower end of its 95 % interval (Wilson)"),
    ("accuracy_high", pa.float64(), "", "higher", "upper end of its 95 % interval (Wilson)"),
    ("correct", pa.int64(), "images", "higher", "held-back images labelled rightly"),
    ("images", pa.int64(), "images", "", "held-back images"),
    ("epochs", pa.int32(), "epochs", "", "how many it was trained"),
    ("seconds", pa.float64(), "s", "lower", "since its process began; less than all if continued"),
    ("cost", pa.string(), "", "", "ground cost"),
    ("form", pa.string(), "", "", "form of the transport term"),
    ("epsilon", pa.float64(), "", "", "entropic regularisation, in units of the cost"),
    ("temperature", pa.float64(), "", "", "of the teacher's softmax; empty: the cost's choice"),
    ("source_penalty", pa.float64(), "", "", "price of mass not moved; empty: all must be moved"),
    ("weight", pa.float64(), "", "", "weight of the transport term"),
    ("relation_weight", pa.float64(), "", "", "weight of the relation term; empty: none"),
    ("learning_rate", pa.float64(), "", "", "its peak"),
)


class TrialStatus(StrEnum):
    """How a trial ended."""

    OK = "ok"
    STOPPED = "stopped"
    FAILED = "failed"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """What came of one trial; the columns' meanings stand above."""

    trial: int
    default: bool
    status: TrialStatus
    cost: str
    form: str
    epsilon: float
    weight: float
    learning_rate: float
    temperature: float | None = None
    source_penalty: float | None = None
    relation_weight: float | None = None
    rank: int | None = None
    reason: str = ""
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    correct: int | None = None
    images: int | None = None
    epochs: int = 0
    seconds: float | None = None


def ranked_trials(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """Those that trained to the end by accuracy, the earlier of two equals first; then the others.

    The accuracy of a trial that was stopped is one after fewer epochs: it has no rank.
    """
    ordered = sorted(rows, key=_order)
    return [
        replace(row, rank=place if row.status is TrialStatus.OK else None)
        for place, row in enumerate(ordered, start=1)
    ]


def search_table(rows: Iterable[TrialRow], about: Mapping[str, Any]) -> pa.Table:
    """The table of a search.

    Args:
        rows: in order.
        about: what else a reader should know, JSON; kept in the schema's metadata.
    """
    content = {"schema_version": SCHEMA_VERSION, "kind": SEARCH_KIND, "metrics": [], **about}
    schema = pa.schema(
        [make_field(*column) for column in _COLUMNS],
        metadata={METADATA_KEY: json.dumps(content, default=str)},
    )
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)


def _order(row: TrialRow) -> tuple[int, float, int]:
    return list(TrialStatus).index(row.status), -(row.accuracy or 0.0), row.trial
