"""Leaderboards are read while scans write them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rayxkd.leaderboard import Leaderboard, render, select
from rayxkd.leaderboard.explain import explain
from rayxkd.leaderboard.watch import Watcher

_READS = 1_000

# Scans of a repository that grows, until nobody listens: parts are added, and the table is
# replaced, again and again.
_WRITER = """
import os, shutil, sys
from itertools import count
from pathlib import Path
from rayxkd.assess import AssessSettings, assess

model, zoo, out = sys.argv[1:]
os.set_blocking(0, False)
for number in count():
    for copy in range(3):
        shutil.copytree(model, Path(zoo) / f"{number}_{copy}")
    report = assess(AssessSettings(repository=(zoo,), out=out, workers=0, probe_size=40))
    print(report.statuses["ok"], flush=True)
    if sys.stdin.buffer.read(1) == b"":
        break
"""


def read_table(address: str) -> int:
    """As a notebook does."""
    return whole(Leaderboard.open(address))


def watch(address: str) -> int:
    """As `show --watch` does."""
    glance = Watcher(address).look()
    return 0 if glance.board is None else whole(glance.board)


def show(address: str) -> int:
    """As `show --sort` does."""
    board = select(Leaderboard.open(address), sort="-parameters")
    return render(board, "csv").count("\n") - 1


def tell(address: str) -> int:
    """As `explain` does."""
    found = explain(Leaderboard.open(address), "best")
    assert found.classes
    return found.teachers


def whole(board: Leaderboard) -> int:
    """How many rows there are; each is complete, and they stand in order."""
    ranks = board.table["rank"].to_pylist()
    assert ranks == list(range(1, len(ranks) + 1))
    assert board.table["transport_cost"].null_count == 0
    assert len(set(board.table["teacher"].to_pylist())) == len(ranks)
    return len(ranks)


# The quick ones more often.
READERS: tuple[Callable[[str], int], ...] = (*(read_table, show) * 4, watch, tell)


@pytest.mark.slow
def test_a_thousand_reads_during_scans(trained_digits: Path, tmp_path: Path) -> None:
    zoo, out = tmp_path / "zoo", tmp_path / "board"
    zoo.mkdir()
    command = [
        sys.executable,
        "-c",
        _WRITER,
        str(trained_digits / "ten_digits"),
        str(zoo),
        str(out),
    ]
    seen: dict[str, Counter[int]] = {reader.__name__: Counter() for reader in READERS}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        first = writer.stdout.readline()  # now there is a table
        for read in range(_READS):
            reader = READERS[read % len(READERS)]
            seen[reader.__name__][reader(str(out))] += 1
        assert writer.poll() is None  # it was at work all the time
        writer.stdin.close()
        counts = [int(line) for line in (first, *writer.stdout)]
    assert writer.returncode == 0
    assert counts == [3 * number for number in range(1, len(counts) + 1)]
    # Tables are those of whole scans; who watches sees rows of scans that are not done, too.
    assert len(seen["read_table"]) > 1
    assert set(seen["read_table"]) <= set(counts)
    assert not set(seen["watch"]) <= set(counts)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": root}
