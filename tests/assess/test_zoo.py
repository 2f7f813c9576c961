"""Real pretrained teachers on real photographs, against a script that shares no code with us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayxkd.assess import AssessSettings, assess
from tests.assess.plain_scan import plain_costs


def scan_costs(
    shared: Path, data: str, out: Path, size: int, cost: str | None = None
) -> dict[str, float]:
    report = assess(
        AssessSettings(
            repository=(str(shared / "zoo"),),
            probe=str(shared / "data" / data / "train.parquet"),
            out=str(out),
            probe_size=size,
            cost=cost,
            workers=2,
        )
    )
    assert report.statuses == {"ok": 5}
    rows = report.leaderboard.table.to_pylist()
    return {row["teacher"].removeprefix("zoo/"): row["transport_cost"] for row in rows}


@pytest.mark.slow
def test_flowers_cost_what_a_plain_script_says(
    ray_session: Any, shared: Path, tmp_path: Path
) -> None:
    found = scan_costs(shared, "flowers", tmp_path / "board", size=40, cost="features")
    parquet = shared / "data" / "flowers" / "train.parquet"
    expected = plain_costs(shared / "zoo", parquet, size=40, cost="features")
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_larger_probe_set_of_flowers(ray_session: Any, shared: Path, tmp_path: Path) -> None:
    found = scan_costs(shared, "flowers", tmp_path / "board", size=80)
    parquet = shared / "data" / "flowers" / "train.parquet"
    assert found == pytest.approx(plain_costs(shared / "zoo", parquet, size=80), abs=1e-5)


@pytest.mark.slow
def test_clothing_has_five_ok_rows(ray_session: Any, shared: Path, tmp_path: Path) -> None:
    costs = scan_costs(shared, "clothing", tmp_path / "board", size=200)
    # ImageNet knows clothes; birds and insects do not.
    assert max(costs, key=costs.__getitem__) == "mobilenetv2_inat_birds"
    assert min(costs, key=costs.__getitem__) == "mobilenetv2_imagenet"
