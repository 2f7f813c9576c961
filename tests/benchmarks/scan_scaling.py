"""How well a scan fills two cores: twelve equal teachers, one worker against two.

Run: ``uv run python tests/benchmarks/scan_scaling.py --teacher FOLDER --probe IMAGES``

Every worker computes with one thread. Both scans run on one Ray cluster that is up already. The
overhead is what the workers' time from their first teacher to the last result holds beside
loading, forward passes and scoring (the transport and all metrics).
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.scan import ScanReport
from rayxkd.fleet.cluster import Cluster

_PHASES = ("load_seconds", "forward_seconds", "transport_seconds", "metric_seconds")


def span_and_work(report: ScanReport) -> tuple[float, float]:
    """Seconds from the first teacher's begin to the last result, and seconds of work."""
    rows = report.leaderboard.table.to_pylist()
    work = [sum(row[phase] for phase in _PHASES) for row in rows]
    begun = [
        row["finished_at"] - timedelta(seconds=seconds)
        for row, seconds in zip(rows, work, strict=True)
    ]
    last = max(row["finished_at"] for row in rows)
    return (last - min(begun)).total_seconds(), sum(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of one teacher")
    parser.add_argument("--probe", required=True, help="labelled images")
    parser.add_argument("--probe-size", type=int, default=512)
    parser.add_argument("--copies", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster:
        cluster.connect()
        zoo = Path(folder) / "zoo"
        for number in range(arguments.copies):
            shutil.copytree(arguments.teacher, zoo / f"{number:02}")
        spans = {}
        for workers in (1, 2):
            report = assess(
                AssessSettings(
                    repository=(str(zoo),),
                    probe=arguments.probe,
                    probe_size=arguments.probe_size,
                    out=str(Path(folder) / f"board{workers}"),
                    workers=workers,
                    cpus_per_worker=1,
                )
            )
            span, work = span_and_work(report)
            spans[workers] = (report.seconds, span)
            print(
                f"{workers} worker(s): {report.seconds:.1f} s with the start of the workers, "
                f"{span:.1f} s without; overhead {1 - work / (workers * span):.1%} of their time"
            )
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, torch {torch.__version__}: "
        f"two workers are {spans[1][1] / spans[2][1]:.2f}x faster than one "
        f"({spans[1][0] / spans[2][0]:.2f}x with the start of the workers)"
    )


if __name__ == "__main__":
    main()
