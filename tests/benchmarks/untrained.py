"""Does every architecture of torchvision and timm go through a scan? Random weights, few images.

Run: ``uv run python -m tests.benchmarks.untrained --minutes 30``

Architectures that are not in ``untrained.tsv`` yet are assessed, the smallest first, and added to
it; so a run may be stopped and gone on with at any time. ``--again STATUS`` takes those of a status
anew. A worker may take ``--memory`` GiB and ``--timeout`` minutes: what does not fit into them has
a row that says so.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from rayxkd.assess import AssessSettings, assess
from rayxkd.teachers import RejectedCard, open_repositories

_TABLE = Path(__file__).with_suffix(".tsv")
_COLUMNS = ("architecture", "parameters", "status", "reason")
_LIBRARIES = ("torchvision", "timm")
_AT_A_TIME = 10
_BYTES_A_PARAMETER = 4
Table = dict[str, dict[str, str]]


def known(path: Path) -> Table:
    """What was found so far, by library and architecture."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["architecture"]: row for row in csv.DictReader(file, delimiter="\t")}


def write(path: Path, table: Table) -> None:
    """Keep what was found, in the order of the names."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table[name] for name in sorted(table))


def architectures() -> Iterator[tuple[str, int]]:
    """All that the installed versions have, and their parameters."""
    for repository in open_repositories([f"{one}://?weights=random" for one in _LIBRARIES]):
        for card in repository.cards():
            library, _, name = card.teacher.partition("-untrained/")
            size = 0 if isinstance(card, RejectedCard) else card.weights_bytes
            yield f"{library}/{name}", size // _BYTES_A_PARAMETER


def assessed(names: list[str], memory: float, minutes: float) -> Iterator[dict[str, str]]:
    """Rows of a scan of some architectures."""
    addresses = ["{}://{}?weights=random".format(*name.split("/", 1)) for name in names]
    with tempfile.TemporaryDirectory(prefix="rayxkd-") as out:
        settings = AssessSettings(
            repository=tuple(addresses),
            probe="demo://#classes=five,six",
            probe_size=4,
            batch_size=1,
            workers=1,
            memory_per_worker=memory,
            timeout=timedelta(minutes=minutes),
            cost="cooccurrence",
            no_evidence=True,
            out=out,
        )
        for row in assess(settings).leaderboard.table.to_pylist():
            library, _, name = row["teacher"].partition("-untrained/")
            found = (f"{library}/{name}", row["parameters"], row["status"], row["reason"])
            yield {key: str(value) for key, value in zip(_COLUMNS, found, strict=True)}


def main() -> None:
    """Assess what is not in the table yet, and print how many of how many are ``ok``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--memory", type=float, default=13)
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--again", nargs="*", default=[])
    parser.add_argument("--table", type=Path, default=_TABLE)
    arguments = parser.parse_args()
    limits = arguments.memory, arguments.timeout
    end = time.monotonic() + 60 * arguments.minutes
    table = known(arguments.table)
    every = dict(architectures())
    table = {name: row for name, row in table.items() if row["status"] not in arguments.again}
    left = sorted(every.keys() - table.keys(), key=every.__getitem__)
    while left and time.monotonic() < end:
        some, left = left[:_AT_A_TIME], left[_AT_A_TIME:]
        table |= {row["architecture"]: row for row in assessed(some, *limits)}
        write(arguments.table, table)
    counts = Counter(row["status"] for name, row in table.items() if name in every)
    print(f"{len(every)} architectures, {len(every) - counts.total()} of them not assessed yet")
    for status, count in counts.most_common():
        print(f"{status}: {count} ({count / len(every):.1%})")
    for name, row in sorted(table.items()):
        if row["status"] != "ok":
            print(f"{name}: {row['status']}: {row['reason']}")


if __name__ == "__main__":
    main()
