"""Teachers that misbehave: each costs its own row, and nobody else notices."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rayxkd.assess import AssessSettings, assess, scan
from rayxkd.assess.task import Job
from rayxkd.assess.worker import Worker
from rayxkd.status import Status

GOOD = 20
_CARD = {
    "num_classes": 2,
    "pretrained_cfg": {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.5]},
}


class Raises(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).gather(1, (images.flatten(1)[:, :2] * 0 + 99).long())


class NotANumber(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :2] * float("nan")


class Hangs(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        total = images.sum()
        while bool(torch.rand(1) >= 0):
            total = total * 1
        return images.flatten(1)[:, :2]


class FillsMemory(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        kept = [images]
        while bool(torch.rand(1) >= 0):
            kept.append(torch.rand(1 << 24))
        return images.flatten(1)[:, :2] + kept[-1].flatten()[0]


class Misbehaving(Worker):
    """Does to the process what a broken operator in a teacher would do."""

    def run(self, job: Job) -> Any:
        name = job.card.teacher.rpartition("/")[2]
        if name == "segfaults":
            ctypes.string_at(0)
        if name == "exits":
            os._exit(3)
        if name == "leaks":
            self.leaked = np.ones(1640 << 17)  # 1.6 GiB that nobody gives back
        return super().run(job)


def add_exported(zoo: Path, name: str, network: torch.nn.Module) -> None:
    folder = zoo / name
    folder.mkdir()
    program = torch.export.export(network, (torch.zeros(2, 1, 8, 8),))
    torch.export.save(program, folder / "model.pt2")
    (folder / "config.json").write_text(json.dumps(_CARD | {"library_name": "torch.export"}))


def add_script(zoo: Path, name: str, network: torch.nn.Module) -> None:
    folder = zoo / name
    folder.mkdir()
    torch.jit.script(network).save(str(folder / "model.pt"))
    (folder / "config.json").write_text(json.dumps(_CARD | {"library_name": "torchscript"}))


@pytest.fixture
def repository(trained_digits: Path, tmp_path: Path) -> Path:
    """Twenty good teachers, and one of each kind of misbehaviour among them."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    models = sorted(trained_digits.iterdir())
    for number in range(GOOD):
        shutil.copytree(models[number % len(models)], zoo / f"good_{number:02}")
    add_exported(zoo, "raises", Raises())
    add_exported(zoo, "not_a_number", NotANumber())
    add_script(zoo, "hangs", Hangs())
    add_script(zoo, "fills_memory", FillsMemory())
    for name in ("segfaults", "exits", "leaks"):
        shutil.copytree(models[0], zoo / name)
    return zoo


@pytest.fixture
def misbehaving(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Scans whose workers misbehave where a teacher's name says so."""
    from ray import cloudpickle  # importing Ray here leaves its settings to the session's fixture

    monkeypatch.setattr(scan, "Worker", Misbehaving)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.slow
def test_each_misbehaviour_costs_its_own_row(
    repository: Path, tmp_path: Path, misbehaving: None
) -> None:
    settings = AssessSettings(
        repository=(str(repository),),
        out=str(tmp_path / "board"),
        workers=2,
        trust_code=True,
        timeout=timedelta(seconds=30),
        memory_per_worker=3.0,
    )
    report = assess(settings)

    rows = {row["teacher"].rpartition("/")[2]: row for row in report.leaderboard.table.to_pylist()}
    assert len(rows) == report.leaderboard.table.num_rows == GOOD + 7
    good = [row for name, row in rows.items() if name.startswith("good")]
    assert {row["status"] for row in good} == {Status.OK}
    assert {row["attempts"] for row in good} == {1}, "the others' faults are not theirs"
    found = {
        name: (row["status"], row["attempts"])
        for name, row in rows.items()
        if not name.startswith("good")
    }
    assert found == {
        "raises": (Status.INVALID, 1),
        "not_a_number": (Status.INVALID, 1),
        "hangs": (Status.TIMEOUT, 1),
        "fills_memory": (Status.OUT_OF_MEMORY, 1),
        "segfaults": (Status.CRASHED, 2),
        "exits": (Status.CRASHED, 2),
        "leaks": (Status.OK, 1),  # it answered; its actor is replaced
    }
    assert "out of bounds" in rows["raises"]["reason"]
    assert "not finite" in rows["not_a_number"]["reason"]
    assert "--timeout 30" in rows["hangs"]["reason"]
    assert "--memory-per-worker" in rows["fills_memory"]["reason"]
    assert "which was refused" in rows["fills_memory"]["reason"]
    assert "its process ended" in rows["segfaults"]["reason"]
    for path in repository.iterdir():
        if not path.name.startswith("good"):
            shutil.rmtree(path)
    alone = assess(replace(settings, out=str(tmp_path / "alone")))
    print(f"{report.seconds:.1f} s for all, {alone.seconds:.1f} s for the good ones alone")
