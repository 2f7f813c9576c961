"""What teachers that misbehave cost a scan beside the good ones.

Run: ``uv run python -m tests.benchmarks.isolation --zoo FOLDER --probe IMAGES``

Twenty copies of the teachers of the zoo, and seven that raise, hang, fill memory, answer with NaN,
leak, or end their process. The scan of all is to take at most one and a half times that of the good
ones alone, and the deadline of the one that hangs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.scan import ScanReport
from rayxkd.cache import CACHE_VARIABLE
from rayxkd.fleet.cluster import Cluster
from tests.assess.misbehaviour import (
    EXPECTED,
    build_repository,
    misbehaving_workers,
    remove_misbehaving,
)

ALLOWED = 1.5
# GiB a worker: the teachers of the zoo need half of it, and what leaks is about the other half.
MEMORY = 3.4


def wrong_of(report: ScanReport) -> list[str]:
    """Teachers whose status is not theirs."""
    found = []
    for row in report.leaderboard.table.to_pylist():
        name = row["teacher"].rpartition("/")[2]
        status, attempts = EXPECTED.get(name, ("ok", 1))
        if (row["status"], row["attempts"]) != (status, attempts):
            found.append(f"{name}: {row['status']} after {row['attempts']}: {row['reason']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path, required=True, help="folder of teachers")
    parser.add_argument("--probe", required=True, help="labelled images")
    parser.add_argument("--probe-size", type=int, default=160)
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for one teacher")
    options = parser.parse_args()
    models = sorted(path.parent for path in options.zoo.glob("*/config.json"))
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster, misbehaving_workers():
        os.environ[CACHE_VARIABLE] = str(Path(folder) / "cache")
        cluster.connect()
        zoo = Path(folder) / "zoo"
        build_repository(models, zoo)
        settings = AssessSettings(
            repository=(str(zoo),),
            probe=options.probe,
            probe_size=options.probe_size,
            out=str(Path(folder) / "all"),
            workers=2,
            cpus_per_worker=1,
            trust_code=True,
            timeout=timedelta(seconds=options.timeout),
            memory_per_worker=MEMORY,
        )
        every = assess(settings)
        remove_misbehaving(zoo)
        os.environ[CACHE_VARIABLE] = str(Path(folder) / "cache2")
        alone = assess(replace(settings, out=str(Path(folder) / "alone")))
    wrong = wrong_of(every)
    for line in wrong:
        print(line)
    allowed = ALLOWED * alone.seconds + options.timeout
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: {every.seconds:.1f} s for all "
        f"{every.assessed} teachers, {len(wrong)} with a wrong status; "
        f"{alone.seconds:.1f} s for the {alone.assessed} good ones alone; allowed "
        f"{ALLOWED} x {alone.seconds:.1f} + {options.timeout:g} = {allowed:.1f} s: "
        f"{'met' if every.seconds <= allowed else 'missed'}"
    )


if __name__ == "__main__":
    main()
