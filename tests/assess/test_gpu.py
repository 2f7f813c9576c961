"""A scan on a GPU: ``uv run pytest -m gpu``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rayxkd.assess import AssessSettings, assess
from rayxkd.doctor import DoctorSettings, examine
from tests.assess.plain_scan import plain_costs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_real_teachers_cost_what_a_plain_script_says_on_the_cpu(
    shared: Path, tmp_path: Path
) -> None:
    parquet = shared / "data" / "flowers" / "train.parquet"
    settings = AssessSettings(
        repository=(str(shared / "zoo"),),
        probe=str(parquet),
        out=str(tmp_path),
        probe_size=60,
        cost="features",
        workers=0,
    )
    report = assess(settings)
    assert report.statuses == {"ok": 5}
    rows = report.leaderboard.table.to_pylist()
    assert {row["device"] for row in rows} == {torch.cuda.get_device_name()}
    found = {row["teacher"].removeprefix("zoo/"): row["transport_cost"] for row in rows}
    # Forward passes run under autocast there.
    expected = plain_costs(shared / "zoo", parquet, size=60, cost="features")
    assert found == pytest.approx(expected, abs=0.05)


def test_the_doctor_tries_every_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    report = examine(DoctorSettings(cluster=False), Console(width=200))
    assert report.succeeded, capsys.readouterr().out
    assert torch.cuda.get_device_name() in capsys.readouterr().out
