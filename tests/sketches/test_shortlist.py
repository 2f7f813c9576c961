"""Scans of the best of an index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.scan import ScanReport
from rayxkd.errors import UserError
from tests.sketches.conftest import Index


@pytest.fixture
def short_scan(zoo: Path, tmp_path: Path) -> Any:
    def run(size: int, **changes: Any) -> tuple[ScanReport, str]:
        console = Console(record=True, width=400)
        settings: dict[str, Any] = {
            "repository": (str(zoo),),
            "out": str(tmp_path / "board"),
            "workers": 0,
            "index": str(tmp_path / "index"),
            "shortlist": size,
        }
        report = assess(AssessSettings(**(settings | changes)), console)
        return report, console.export_text()

    return run


def test_only_the_best_are_assessed(make_index: Index, short_scan: Any, tmp_path: Path) -> None:
    make_index()
    report, told = short_scan(2)
    assert report.assessed == 2
    names = report.leaderboard.table["teacher"].to_pylist()
    assert names[0] == "zoo/ten_digits"
    assert len(names) == 2
    assert f"shortlist: 2 of 4 sketched teachers, by {tmp_path / 'index'}" in told
    metadata = pq.read_schema(tmp_path / "board" / "leaderboard.parquet").metadata
    about = json.loads(metadata[b"rayxkd"])["shortlist"]
    assert (about["size"], about["of"], about["without_sketch"]) == (2, 4, 0)
    assert about["index"] == str(tmp_path / "index")
    # A longer list assesses the others alone.
    longer, _ = short_scan(9)
    assert (longer.assessed, longer.reused) == (2, 2)


def test_the_same_rows_as_without_an_index(
    make_index: Index, short_scan: Any, tmp_path: Path
) -> None:
    make_index()
    short, _ = short_scan(2)
    whole, _ = short_scan(2, index=None, shortlist=None, out=str(tmp_path / "whole"))
    costs = {row["teacher"]: row["transport_cost"] for row in whole.leaderboard.table.to_pylist()}
    assert len(costs) == 4
    for row in short.leaderboard.table.to_pylist():
        assert row["transport_cost"] == costs[row["teacher"]]


def test_a_network_as_the_space(make_index: Index, short_scan: Any, zoo: Path) -> None:
    make_index(space=str(zoo / "ten_digits"))
    report, _ = short_scan(1)
    assert report.leaderboard.table["teacher"].to_pylist() == ["zoo/ten_digits"]
    shutil.copy(zoo / "shuffled_labels" / "model.pt2", zoo / "ten_digits")
    with pytest.raises(UserError, match="another network than when the index was made"):
        short_scan(1)


def test_teachers_without_a_present_sketch_are_told(
    make_index: Index, short_scan: Any, zoo: Path
) -> None:
    make_index()
    shutil.copytree(zoo / "parity", zoo / "newcomer")
    shutil.copy(zoo / "shuffled_labels" / "model.pt2", zoo / "ten_digits")
    report, told = short_scan(9)
    assert report.assessed == 3
    assert "2 without a sketch of their present weights are left out" in told
    make_index()
    report, told = short_scan(9)
    assert len(report.leaderboard.table) == 5
    assert "without a sketch" not in told


def test_no_sketch_at_all(make_index: Index, short_scan: Any, zoo: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no index at"):
        short_scan(1)
    make_index()
    other = tmp_path / "elsewhere"
    shutil.copytree(zoo, other)
    with pytest.raises(UserError, match="has no sketch of the present weights of any of the 4"):
        short_scan(1, repository=(str(other),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": None}, "belong together"),
        ({"shortlist": None}, "belong together"),
        ({"shortlist": 0}, "--shortlist must be above zero"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"index": "index", "shortlist": 2}
    with pytest.raises(UserError, match=message):
        AssessSettings(**(settings | changes)).check()
