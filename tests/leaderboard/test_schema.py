"""The leaderboard's columns: the contract with everybody who reads one."""

from __future__ import annotations

import json
from dataclasses import fields

import pyarrow as pa
import pytest

from rayxkd.errors import UserError
from rayxkd.leaderboard import Assessment, leaderboard_schema
from rayxkd.leaderboard.schema import SCHEMA_VERSION, about_of
from rayxkd.metrics import METRICS
from tests.leaderboard.builders import ABOUT, SCHEMA

CONTRACT = {
    "rank": pa.int32(),
    "teacher": pa.string(),
    "status": pa.string(),
    "reason": pa.string(),
    "transport_cost": pa.float64(),
    "transport_cost_low": pa.float64(),
    "transport_cost_high": pa.float64(),
    "relative_cost": pa.float64(),
    "tied": pa.bool_(),
    "num_classes": pa.int32(),
    "num_features": pa.int32(),
    "parameters": pa.int64(),
    "images_seen": pa.int64(),
    "load_seconds": pa.float64(),
    "forward_seconds": pa.float64(),
    "transport_seconds": pa.float64(),
    "device": pa.string(),
    "attempts": pa.int32(),
    "license": pa.string(),
    "teacher_digest": pa.string(),
    "probe_digest": pa.string(),
    "config_digest": pa.string(),
    "rayxkd_version": pa.string(),
    "finished_at": pa.timestamp("us", tz="UTC"),
}


def test_every_column_of_the_contract_is_there_in_its_order():
    names = [name for name in SCHEMA.names if name in CONTRACT]
    assert names == list(CONTRACT)
    assert {name: SCHEMA.field(name).type for name in CONTRACT} == CONTRACT


def test_every_field_of_an_assessment_has_a_column():
    assert {field.name for field in fields(Assessment)} - {"metrics"} <= set(SCHEMA.names)


def test_every_column_says_its_unit_direction_and_meaning():
    for field in leaderboard_schema(list(METRICS), "nats", ABOUT):
        assert set(field.metadata) == {b"unit", b"better", b"description"}, field.name
        assert field.metadata[b"better"] in (b"lower", b"higher", b"")
        assert field.metadata[b"description"]


def test_units_and_directions_are_those_of_cost_and_metrics():
    schema = leaderboard_schema(list(METRICS), "nats", ABOUT)
    for name in ("transport_cost", "transport_cost_low", "transport_cost_high"):
        assert schema.field(name).metadata[b"unit"] == b"nats"
        assert schema.field(name).metadata[b"better"] == b"lower"
    assert schema.field("relative_cost").metadata[b"unit"] == b""
    for name, metric in METRICS.items():
        better = b"higher" if metric.higher_is_better else b"lower"
        assert schema.field(name).type == pa.float64()
        assert schema.field(name).metadata[b"better"] == better
        assert schema.field(name).metadata[b"unit"].decode() == metric.unit


def test_metrics_are_columns_after_the_cost():
    names = SCHEMA.names
    assert names[names.index("tied") + 1 : names.index("num_classes")] == ["leep", "h_score"]


def test_an_unknown_metric_is_told():
    with pytest.raises(UserError, match="unknown metric 'leap': did you mean 'leep'"):
        leaderboard_schema(["leap"], "nats", ABOUT)


def test_what_is_known_of_the_scan_is_kept():
    about = about_of(SCHEMA, "here")
    assert about == {**ABOUT, "metrics": ["leep", "h_score"], "schema_version": SCHEMA_VERSION}


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"rayxkd": "no JSON"}, {"rayxkd": "[]"}, {"rayxkd": "{}"}, {"rayxkd": b"\xff"}],
)
def test_a_schema_of_somebody_else_is_told(metadata):
    with pytest.raises(UserError, match="here is no leaderboard of rayxkd"):
        about_of(SCHEMA.remove_metadata().with_metadata(metadata), "here")


def test_a_newer_schema_is_told_with_what_to_do():
    newer = SCHEMA.with_metadata({"rayxkd": json.dumps({"schema_version": SCHEMA_VERSION + 1})})
    with pytest.raises(UserError, match=r"here has schema version 2, .* upgrade rayxkd"):
        about_of(newer, "here")
