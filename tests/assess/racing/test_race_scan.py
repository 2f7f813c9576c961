"""Scans with a budget: real teachers, real rounds, and what is left after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.asker import predict as ask
from rayxkd.assess.racing.scan import Watch
from rayxkd.assess.scan import ScanReport
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard

Race = Callable[..., ScanReport]
SAME = ("rank", "teacher", "status", "reason", "transport_cost", "images_seen", "teacher_digest")


@pytest.fixture
def race(trained_digits: Path, tmp_path: Path) -> Race:
    """Race copies of the trained teachers on the demo's task, in this process."""
    zoo = Path(shutil.copytree(trained_digits, tmp_path / "zoo"))

    def run(**changes: Any) -> ScanReport:
        settings = {"repository": (str(zoo),), "out": str(tmp_path / "board"), "workers": 0}
        return assess(AssessSettings(**(settings | {"budget": "60%"} | changes)))

    return run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each question to a teacher was about."""
    counts: list[int] = []

    def count(teacher: Any, pixels: Any, how: Any) -> Any:
        counts.append(len(pixels))
        return ask(teacher, pixels, how)

    monkeypatch.setattr("rayxkd.assess.asker.predict", count)
    return counts


def same(report: ScanReport) -> list[dict[str, Any]]:
    return report.leaderboard.table.select(SAME).to_pylist()


def rows_of(report: ScanReport) -> dict[str, dict[str, Any]]:
    return {row["teacher"]: row for row in report.leaderboard.table.to_pylist()}


def test_a_race_finds_the_best_and_asks_less(race: Race, asked: list[int], tmp_path: Path) -> None:
    whole = rows_of(race(budget=None, out=str(tmp_path / "whole"), metrics=("leep",)))
    asked.clear()
    report = race(metrics=("leep",))
    account, rows = report.race, rows_of(report)
    assert account is not None
    assert sum(asked) == account.spent <= 0.6 * 4 * 100
    assert (report.assessed, report.left, report.reused) == (4, 0, 0)
    best = rows["zoo/ten_digits"]
    assert best["rank"] == 1
    for name in ("transport_cost", "transport_cost_high", "leep", "relative_cost"):
        assert best[name] == pytest.approx(whole["zoo/ten_digits"][name], abs=1e-4)
    out = [row for row in rows.values() if row["status"] == "eliminated"]
    assert len(out) == account.by_interval + account.by_rank > 0
    for row in out:
        assert row["rank"] is None
        assert 25 <= row["images_seen"] < 100
        assert row["transport_cost_low"] <= row["transport_cost"] <= row["transport_cost_high"]
        assert row["reason"].startswith("stopped in round ")
        assert row["leep"] is None
    table = report.leaderboard.table["status"].to_pylist()
    assert table == sorted(table, key=lambda status: status != "ok"), "none above an ok one"


def test_the_table_says_what_the_race_cost(race: Race, tmp_path: Path) -> None:
    report = race()
    told = Leaderboard.open(str(tmp_path / "board")).about["race"]
    account = report.race
    assert account is not None
    assert told["images"] == account.spent
    assert told["share_of_exhaustive"] == pytest.approx(account.spent / 400)
    assert told["claimed_error"] == account.claimed_error
    assert told["seconds"] > 0
    assert not (tmp_path / "board" / "race" / "predictions" / "v1").exists() or not any(
        (tmp_path / "board" / "race" / "predictions" / "v1").iterdir()
    ), "predictions are kept no longer than they are needed"


@pytest.mark.parametrize("after", [2, 5])
def test_a_race_that_was_killed_ends_in_the_same_table(
    race: Race, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int], after: int
) -> None:
    whole = race(out=str(tmp_path / "whole"))
    spent = sum(asked)
    asked.clear()
    with monkeypatch.context() as patched:

        def killed(*arguments: Any) -> Any:
            if len(asked) == after:
                raise KeyboardInterrupt
            asked.append(len(arguments[1]))
            return ask(*arguments)

        patched.setattr("rayxkd.assess.asker.predict", killed)
        first = race()
    assert first.interrupted
    assert first.left > 0
    second = race()
    assert not second.interrupted
    assert same(second) == same(whole)
    assert sum(asked) == spent, "no image was asked about twice"
    third = race()
    assert (third.assessed, third.reused, third.left) == (3, 1, 0)
    assert sum(asked) == spent
    assert same(third) == same(whole)


def test_who_was_stopped_is_assessed_where_there_is_no_budget(race: Race) -> None:
    raced = race()
    stopped = raced.statuses["eliminated"]
    whole = race(budget=None)
    assert (whole.assessed, whole.reused) == (stopped, 4 - stopped)
    assert whole.statuses == {"ok": 4}
    assert whole.race is None
    again = race()
    assert again.statuses == {"ok": 4}, "whose result is known is not stopped"


def test_broken_teachers_do_not_disturb_a_race(race: Race, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    (zoo / "low_digits" / "model.pt2").write_bytes(b"not an archive")
    (zoo / "parity" / "config.json").write_text("{")
    report = race(budget="90%")
    rows = rows_of(report)
    assert rows["zoo/ten_digits"]["rank"] == 1
    assert {rows[f"zoo/{name}"]["status"] for name in ("low_digits", "parity")} == {"invalid"}
    assert len(rows) == 4
    assert same(race(budget="90%")) == same(report)


def test_who_fails_after_it_led_puts_nobody_out_again(
    race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def broken_at_last(teacher: Any, pixels: Any, how: Any) -> Any:
            if teacher.card.teacher == "zoo/ten_digits" and len(pixels) == 50:
                raise MemoryError("too much")
            return ask(teacher, pixels, how)

        patched.setattr("rayxkd.assess.asker.predict", broken_at_last)
        assert rows_of(race())["zoo/ten_digits"]["status"] == "out_of_memory"
    again = rows_of(race())
    assert again["zoo/ten_digits"]["status"] == "out_of_memory"
    assert "ok" in {row["status"] for row in again.values()}


def test_a_race_against_time(race: Race) -> None:
    report = race(budget=timedelta(hours=1))
    assert report.race is not None
    assert report.race.by_rank == 0
    assert rows_of(report)["zoo/ten_digits"]["rank"] == 1
    assert report.left == 0


def test_who_was_not_begun_in_time_is_left_for_later(
    race: Race, monkeypatch: pytest.MonkeyPatch, asked: list[int]
) -> None:
    """Every question takes ten seconds of thirty-six."""
    monkeypatch.setattr(
        "rayxkd.assess.scan.Watch", lambda budget: Watch(budget, lambda: 10.0 * len(asked))
    )
    report = race(budget=timedelta(seconds=36))
    assert asked == [25, 25, 25, 75]
    assert report.left == 1
    assert report.statuses == {"ok": 1, "eliminated": 2}
    assert report.race is not None
    assert report.race.spent == 150


def test_two_are_kept(race: Race) -> None:
    report = race(keep=2, budget="80%")
    assert report.statuses["ok"] >= 2


def test_a_budget_that_suffices_for_nothing_is_refused(race: Race) -> None:
    with pytest.raises(UserError, match="--budget allows 100 images: a race of 4 teachers needs"):
        race(budget="100img")


@pytest.mark.slow
@pytest.mark.long
def test_the_demo_here_and_on_ray(ray_session: Any, tmp_path: Path) -> None:
    here, there = (
        assess(AssessSettings(out=str(tmp_path / name), budget="40%", workers=workers))
        for name, workers in (("here", 0), ("there", 2))
    )
    for report in (here, there):
        assert rows_of(report)["demo/ten_digits"]["rank"] == 1
        assert report.race is not None
        assert report.race.spent <= 0.4 * 12 * 100
        assert report.statuses["eliminated"] >= 8
        assert sum(report.statuses.values()) == 12
    columns = ("teacher", "status", "images_seen")
    tables = [report.leaderboard.table.select(columns) for report in (here, there)]
    assert tables[0].equals(tables[1])
    again = assess(AssessSettings(out=str(tmp_path / "there"), budget="40%", workers=2))
    assert again.workers == 0, "all is known"
    assert same(again) == same(there)
    settings = json.loads((tmp_path / "there" / "scan.json").read_text())["settings"]
    assert "budget" not in settings, "a scan may go on without one"
