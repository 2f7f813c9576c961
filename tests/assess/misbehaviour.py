"""Teachers that misbehave, one of each kind, among good ones."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from rayxkd.assess import scan
from rayxkd.assess.task import Job
from rayxkd.assess.worker import Worker
from rayxkd.status import Status

GOOD = 20
# Status and attempts of each kind; the one that leaks answers, and its actor is replaced.
EXPECTED = {
    "raises": (Status.INVALID, 1),
    "not_a_number": (Status.INVALID, 1),
    "hangs": (Status.TIMEOUT, 1),
    "fills_memory": (Status.OUT_OF_MEMORY, 1),
    "segfaults": (Status.CRASHED, 2),
    "exits": (Status.CRASHED, 2),
    "leaks": (Status.OK, 1),
}
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


def build_repository(models: list[Path], zoo: Path) -> None:
    """Twenty good teachers, and one of each kind of misbehaviour among them.

    Args:
        models: folders of good ones, which are copied in turn.
        zoo: the repository, which is made.
    """
    zoo.mkdir(parents=True)
    for number in range(GOOD):
        shutil.copytree(models[number % len(models)], zoo / f"good_{number:02}")
    add_exported(zoo, "raises", Raises())
    add_exported(zoo, "not_a_number", NotANumber())
    add_script(zoo, "hangs", Hangs())
    add_script(zoo, "fills_memory", FillsMemory())
    for name in ("segfaults", "exits", "leaks"):
        shutil.copytree(models[0], zoo / name)


def remove_misbehaving(zoo: Path) -> None:
    """Leave the good ones alone."""
    for path in zoo.iterdir():
        if path.name in EXPECTED:
            shutil.rmtree(path)


@contextmanager
def misbehaving_workers() -> Iterator[None]:
    """Scans whose workers misbehave where a teacher's name says so."""
    from ray import cloudpickle  # importing Ray leaves its settings to whoever starts it

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        with patch.object(scan, "Worker", Misbehaving):
            yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
