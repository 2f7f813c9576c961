"""A whole scan of a repository whose owner means harm."""

from __future__ import annotations

import sys

import psutil
import pytest

from rayxkd.assess import AssessSettings, assess
from rayxkd.status import Status
from rayxkd.teachers import RejectedCard, open_repositories
from tests.benchmarks.scan_scaling import MemoryOfWorkers
from tests.teachers.hostile import Hostile, everything_below

_TWO_GIBIBYTES = 2 * 2**30


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    return Hostile.build(tmp_path_factory.mktemp("hostile"))


def test_every_item_is_listed_once_and_nothing_is_run(hostile):
    before = everything_below(hostile.root)
    cards = [card for one in open_repositories(hostile.addresses) for card in one.cards()]
    listed = [card.teacher for card in cards]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {item.teacher for item in hostile.items}
    wanted = {item.teacher: item for item in hostile.items}
    for card in cards:
        if isinstance(card, RejectedCard):
            assert (card.status, card.reason) == (wanted[card.teacher].status, card.reason)
            assert wanted[card.teacher].word in card.reason
    assert everything_below(hostile.root) == before


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_hostile_repository_costs_rows_and_nothing_else(hostile, tmp_path, capsys):
    before = everything_below(hostile.root)
    settings = AssessSettings(
        repository=hostile.addresses,
        probe_size=40,
        out=str(tmp_path / "board"),
        workers=2,
        cpus_per_worker=1,
    )
    with MemoryOfWorkers() as memory:
        report = assess(settings)
    rows = {row["teacher"]: row for row in report.leaderboard.table.to_pylist()}
    wrong = [
        (item, rows.get(item.teacher, {}).get("status"), rows.get(item.teacher, {}).get("reason"))
        for item in hostile.items
        if item.teacher not in rows
        or rows[item.teacher]["status"] != item.status
        or item.word not in (rows[item.teacher]["reason"] or "")
    ]
    assert not wrong, "\n".join(map(str, wrong))
    assert len(rows) == len(hostile.items)
    bad = [item for item in hostile.items if item.status is not Status.OK]
    assert len(bad) >= 40
    assert not hostile.canary.sings
    assert everything_below(hostile.root) == before
    here = psutil.Process().memory_info().rss
    assert 0 < memory.peak < _TWO_GIBIBYTES
    with capsys.disabled():
        print(
            f"\n{len(bad)} hostile and {len(rows) - len(bad)} good teachers in "
            f"{report.seconds:.0f} s; a worker held {memory.peak / 2**20:.0f} MiB at most, "
            f"the driver {here / 2**20:.0f} MiB",
            file=sys.stderr,
        )
