"""What changed between two leaderboards."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.diff import Difference, compare
from tests.leaderboard.written import (
    NASTY_NAMES,
    SETTINGS,
    row,
    sha,
    write_board,
    write_search,
)


@pytest.fixture
def boards(tmp_path):
    """Of every change one."""
    before = [
        row("went", cost=0.5),
        row("leader", cost=1.0),
        row("falls", cost=2.0),
        row("rises", cost=6.0),
        row("breaks", cost=7.0),
        row("heals"),
        row("stays broken"),
    ]
    after = [
        row("leader", cost=1.05),
        row("rises", cost=1.5),
        row("falls", cost=2.0, teacher_digest=sha("other weights")),
        row("heals", cost=3.0),
        row("came", cost=4.0),
        row("breaks", reason="it hangs"),
        row("stays broken"),
    ]
    return write_board(tmp_path / "one", *before), write_board(tmp_path / "two", *after)


def difference(one: str, two: str) -> Difference:
    return compare(Leaderboard.open(one), Leaderboard.open(two))


def test_every_change_is_found(boards):
    found = difference(*boards)
    assert [place.teacher for place in found.came] == ["came"]
    assert [place.teacher for place in found.went] == ["went"]
    assert [(place.teacher, place.reason) for place in found.failed] == [("breaks", "it hangs")]
    assert [(place.teacher, place.rank) for place in found.mended] == [("heals", 4)]
    assert [(move.teacher, move.rank, move.overlap) for move in found.moved] == [
        ("rises", (4, 2), False),
        ("leader", (2, 1), True),
        ("falls", (3, 3), True),
    ]
    assert found.weights == ["falls"]
    assert found.unchanged == 1
    assert found.comparable
    assert (found.settings, found.facts) == ({}, {})


def test_nothing_changed(boards):
    found = difference(boards[0], boards[0])
    lists = (found.came, found.went, found.moved, found.failed, found.mended, found.weights)
    assert lists == ([],) * 6
    assert found.unchanged == 7


def test_intervals_that_are_not_known_neither_overlap_nor_not(tmp_path):
    bare = {"transport_cost_low": None, "transport_cost_high": None}
    one = write_board(tmp_path / "one", row("a", cost=1.0, **bare))
    two = write_board(tmp_path / "two", row("a", cost=2.0))
    assert [move.overlap for move in difference(one, two).moved] == [None]


def test_another_failure_is_told(tmp_path):
    one = write_board(tmp_path / "one", row("a"))
    two = write_board(tmp_path / "two", row("a", status="timeout", reason="slow"))
    (place,) = difference(one, two).failed
    assert (place.status, place.reason) == ("timeout", "slow")


def test_what_the_rows_depend_on_is_told(tmp_path, capsys):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    changed = {"probe_digest": sha("other"), "config_digest": sha("more")}
    two = write_board(
        tmp_path / "two",
        row("a", cost=1.0, rayxkd_version="0.2.0", **changed),
        settings={**SETTINGS, "cost": "prototype", "new": 1},
        probe_images=64,
    )
    found = difference(one, two)
    assert not found.comparable
    assert found.settings == {"cost": ("learned", "prototype"), "new": (None, 1)}
    assert set(found.facts) == {*changed, "probe_images", "rayxkd_version"}
    assert found.facts["probe_images"] == (512, 64)
    assert found.facts["rayxkd_version"] == (["0.1.0"], ["0.2.0"])
    assert run_app(app, ["diff", one, two]) == 0
    out = capsys.readouterr().out
    assert "--cost: learned -> prototype" in out
    assert "--new: (default) -> 1" in out
    assert "probe_images: 512 -> 64" in out
    assert f"probe_digest: {sha('photos')[:12]} -> {sha('other')[:12]}" in out
    assert "costs and ranks are not to be compared" in out


def test_people_see_arrows_and_costs(boards, capsys):
    assert run_app(app, ["diff", *boards]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"{boards[0]} -> {boards[1]}"
    assert "4 -> 2 ↑2 rises 6.000 -> 1.500 -4.500 apart" in lines
    assert "2 -> 1 ↑1 leader 1.000 -> 1.050 +0.050 overlap" in lines
    assert "3 -> 3 = falls 2.000 -> 2.000 +0.000 overlap other" in lines
    assert "came: came (ok, rank 5)" in lines
    assert "failed: breaks (invalid): it hangs" in lines
    assert "mended: heals (ok, rank 4)" in lines
    assert lines[-1] == "3 moved, 1 came, 1 went, 1 failed, 1 mended, 1 unchanged"
    assert run_app(app, ["diff", *reversed(boards)]) == 0
    assert "↓2" in capsys.readouterr().out


def test_programs_get_json(boards, capsys):
    assert run_app(app, ["diff", *boards, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["moved"][0] == {
        "teacher": "rises",
        "rank": [4, 2],
        "cost": [6.0, 1.5],
        "overlap": False,
        "weights_changed": False,
    }
    assert (found["before"], found["after"]) == boards
    assert found["comparable"] is True


def test_only_the_first_are_printed(tmp_path, capsys):
    names = [f"t{number}" for number in range(9)]
    one = write_board(tmp_path / "one", *(row(name, cost=float(name[1])) for name in names))
    two = write_board(tmp_path / "two", *(row(name, cost=9.0 - float(name[1])) for name in names))
    assert run_app(app, ["diff", one, two, "--top", "2"]) == 0
    assert "moved: 7 more (--top)" in capsys.readouterr().out
    empty = write_board(tmp_path / "none")
    assert run_app(app, ["diff", one, empty, "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("went: t") == 2
    assert "went: 7 more (--top)" in out


def test_hostile_names_are_shown_as_they_are(tmp_path, capsys):
    one = write_board(tmp_path / "one", *(row(name, cost=1.0) for name in NASTY_NAMES))
    two = write_board(tmp_path / "two", *(row(name, cost=2.0) for name in NASTY_NAMES[1:]))
    assert run_app(app, ["diff", one, two]) == 0
    out = capsys.readouterr().out
    assert f"went: {NASTY_NAMES[0]} (ok" in out
    assert "[bold]x[/bold] :cat:" in out
    assert r"two\nlines\tand\x1b[31mred" in out
    assert "\x1b" not in out


def test_a_damaged_one_is_told(boards):
    one, two = map(Leaderboard.open, boards)
    table = one.table
    place = table.schema.get_field_index("rank")
    ranks = pa.array([None] * len(table), pa.int32())
    damaged = Leaderboard(
        one.url, table.set_column(place, table.schema.field("rank"), ranks), one.about
    )
    with pytest.raises(UserError, match="'went' is ok without a rank or a cost; verify tells"):
        compare(damaged, two)


def test_searches_are_refused(boards, tmp_path, capsys):
    search = write_search(tmp_path / "search")
    with pytest.raises(UserError, match="holds the trials of a search: diff works on"):
        difference(search, search)
    assert run_app(app, ["diff", boards[0], search]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run_app(app, ["diff", boards[0], str(tmp_path / "nowhere")]) == 1
    assert run_app(app, ["diff", *boards, "--top", "-1"]) == 1
    assert "--top -1" in capsys.readouterr().err
