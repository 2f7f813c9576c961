"""Does the simulated scheduler take as long as the real one? Real scans against simulated ones.

Run: ``uv run python tests/benchmarks/simulation.py --zoo FOLDER --probe IMAGES``

The teachers of the zoo stand ``--copies`` times in a repository (links, so nothing is copied). It
is scanned by one and by two workers of one thread, as it is and with faults: a file of weights
that is cut short, and a worker's process that is killed while it assesses. Every real scan is
compared with simulations that know the leaderboards of the *other* scans alone: their times by
teacher, their failures, and how long their workers took to start. That holds what the model does
not know of a scan and what else the machine was doing; the first without the second is seen where
a scan is compared with the simulation of itself. The order of cases is turned in every round, so
that a busy machine does not meet always the same.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import torch

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.recorder import WRITERS
from rayxkd.fleet.cluster import Cluster
from rayxkd.leaderboard import Leaderboard
from rayxkd.simulation.conditions import Conditions
from rayxkd.simulation.run import simulate_scan
from rayxkd.simulation.workload import measured_by, teachers_of

_PHASES = ("load_seconds", "forward_seconds", "transport_seconds", "metric_seconds")
_CASES = [(workers, faulty) for faulty in (False, True) for workers in (1, 2)]
_KILL_AFTER = 5  # teachers
_SEEDS = 20


@dataclass(frozen=True, eq=False)
class Scan:
    """A real scan: its leaderboard, and how long it took."""

    board: Leaderboard
    workers: int
    seconds: float

    @property
    def start_seconds(self) -> float:
        """From the wish for workers until the first teacher is begun."""
        rows = [row for row in self.board.table.to_pylist() if row["load_seconds"] is not None]
        finished = max(row["finished_at"] for row in rows)
        span = (finished - min(begin_of(row) for row in rows)).total_seconds()
        return max(0.0, self.seconds - span)


def begin_of(row: Mapping[str, Any]) -> datetime:
    """When a teacher's last attempt was begun."""
    begin: datetime = row["finished_at"] - timedelta(seconds=sum(row[name] for name in _PHASES))
    return begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True, help="folder of teacher folders")
    parser.add_argument("--probe", required=True, help="labelled images")
    parser.add_argument("--probe-size", type=int, default=64)
    parser.add_argument("--copies", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    scans: dict[tuple[int, bool], list[Scan]] = {case: [] for case in _CASES}
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster:
        cluster.connect()
        plain, faulty = Path(folder) / "plain", Path(folder) / "faulty"
        for repository in (plain, faulty):
            fill(repository, arguments.zoo, arguments.copies)
        cut_short(next(iter(sorted(faulty.iterdir()))))
        for turn in range(arguments.rounds):
            shift = turn % len(_CASES)
            for workers, with_faults in _CASES[shift:] + _CASES[:shift]:
                scan = real_scan(
                    faulty if with_faults else plain,
                    Path(folder) / f"board{turn}{workers}{with_faults}",
                    arguments,
                    workers,
                    kill=with_faults,
                    seed=turn,
                )
                scans[workers, with_faults].append(scan)
                print(
                    f"round {turn + 1}: {workers} worker(s){', faults' if with_faults else ''}: "
                    f"{scan.seconds:.1f} s, start {scan.start_seconds:.1f} s",
                    flush=True,
                )
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, torch {torch.__version__}")
    show(scans)


def fill(repository: Path, zoo: Path, copies: int) -> None:
    """Every teacher of the zoo so many times."""
    for card in sorted(zoo.glob("*/config.json")):
        for number in range(copies):
            shutil.copytree(card.parent, repository / f"{card.parent.name}_{number}")


def cut_short(teacher: Path) -> None:
    """Leave half of its weights."""
    for weights in teacher.glob("model.*"):
        content = weights.read_bytes()
        weights.write_bytes(content[: len(content) // 2])


def real_scan(
    repository: Path,
    out: Path,
    arguments: argparse.Namespace,
    workers: int,
    *,
    kill: bool,
    seed: int,
) -> Scan:
    settings = AssessSettings(
        repository=(str(repository),),
        probe=arguments.probe,
        probe_size=arguments.probe_size,
        out=str(out),
        workers=workers,
        cpus_per_worker=1,
    )
    with killer(out / "parts", seed) if kill else nullcontext():
        report = assess(settings)
    return Scan(report.leaderboard, workers, report.seconds)


@contextmanager
def killer(parts: Path, seed: int) -> Iterator[None]:
    """Kill a process that assesses once some teachers are done, at a random moment."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set() and len(list(parts.glob("*.parquet"))) < _KILL_AFTER:
            time.sleep(0.05)
        time.sleep(random.Random(seed).uniform(0, 2))
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                parent = process.parent()
                if parent is not None and not ended.is_set() and supervises(parent):
                    process.kill()
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def supervises(process: psutil.Process) -> bool:
    return any("rayxkd.fleet.supervisor" in word for word in process.cmdline())


def simulated_seconds(source: Scan, workers: int) -> float:
    """What the simulator says of a scan whose teachers behave as those of another scan."""
    # Both workers are on this machine, and one place of it is never without one for long.
    conditions = Conditions(
        machines=1,
        places=workers,
        start=source.start_seconds,
        writers=WRITERS,
    )
    teachers = teachers_of(measured_by(source.board))
    return statistics.median(
        simulate_scan(teachers, conditions, seed=seed).makespan for seed in range(_SEEDS)
    )


def show(scans: Mapping[tuple[int, bool], Sequence[Scan]]) -> None:
    """A table of real over simulated seconds: median, and range over all pairs of scans."""
    print("| workers | faults | real seconds | from itself | from others | from one worker's |")
    print("|---|---|---|---|---|---|")
    for workers, with_faults in _CASES:
        real = scans[workers, with_faults]
        own = [scan.seconds / simulated_seconds(scan, workers) for scan in real]
        others = ratios(real, real)
        by_one = ratios(real, scans[1, with_faults]) if workers > 1 else []
        seconds = [scan.seconds for scan in real]
        print(
            f"| {workers} | {'yes' if with_faults else 'no'} | {statistics.median(seconds):.0f} "
            f"({min(seconds):.0f} to {max(seconds):.0f}) | {said(own)} | {said(others)} "
            f"| {said(by_one)} |"
        )


def ratios(real: Sequence[Scan], sources: Sequence[Scan]) -> list[float]:
    """Every scan's real seconds over those simulated from every other one."""
    simulated = {source: simulated_seconds(source, real[0].workers) for source in sources}
    return [
        scan.seconds / simulated[source]
        for scan in real
        for source in sources
        if source is not scan
    ]


def said(found: Sequence[float]) -> str:
    if not found:
        return ""
    return f"{statistics.median(found):.3f} ({min(found):.2f} to {max(found):.2f})"


if __name__ == "__main__":
    main()
