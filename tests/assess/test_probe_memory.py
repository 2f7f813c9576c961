"""However many workers a machine has, they hold one probe set between them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from rayxkd.data import ProbeSet
from rayxkd.fleet.child import Seat
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.runners import Limits, runner_pool
from rayxkd.teachers import Preprocessing, ProbePixels
from tests.teachers.folders import probe_of, random_images

WORKERS, IMAGES = 2, 64
WANTED = Preprocessing((3, 128, 128))
PAGE = 4096


class Holder:
    """Looks at every image as a worker does, and at its own memory while all others do, too."""

    def __init__(self, _: Seat, probe: ProbeSet, meeting: Path) -> None:
        self._meeting = meeting
        self._probe = probe
        self._pixels = ProbePixels.of_machine(probe, probe.digest)

    def run(self, job: int) -> dict[str, tuple[int, int]]:
        seen = self._pixels.batch(WANTED, slice(0, IMAGES))
        assert seen.shape[0] == IMAGES
        int(self._probe.buffer.sum())
        self._meet("looked", job)
        found = {kind: mapped_from(kind) for kind in ("pixels", "shared")}
        self._meet("told", job)
        return found

    def _meet(self, what: str, job: int) -> None:
        """Wait until all others are there."""
        (self._meeting / f"{what}{job}").touch()
        deadline = time.monotonic() + 60
        while len(list(self._meeting.glob(f"{what}*"))) < WORKERS:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def mapped_from(kind: str) -> tuple[int, int]:
    """Of a cache's files: what this process sees in memory, and its share of that, in bytes."""
    maps = [one for one in psutil.Process().memory_maps() if f"/{kind}/" in one.path]
    return sum(one.rss for one in maps), sum(one.pss for one in maps)


@pytest.mark.usefixtures("ray_session")
def test_all_workers_of_a_machine_hold_one_probe_set(tmp_path: Path) -> None:
    probe = probe_of(random_images(IMAGES))
    assert probe.buffer.nbytes > 2**18  # too large to travel in a message
    with Cluster() as cluster:
        shared: tuple[Any, ...] = (probe, tmp_path)
        pool = runner_pool(WORKERS, Holder, shared, cluster, Limits(workers=WORKERS))
        found = [finished.value for finished in pool.run(range(WORKERS), lambda: True)]

    sizes = {"pixels": IMAGES * int(np.prod(WANTED.input_size)), "shared": probe.buffer.nbytes}
    for kind, size in sizes.items():
        seen, shares = zip(*(one[kind] for one in found), strict=True)
        assert all(size <= rss <= size + 2 * PAGE for rss in seen), (kind, size, seen)
        assert sum(shares) <= size + 2 * PAGE, (kind, size, shares)
