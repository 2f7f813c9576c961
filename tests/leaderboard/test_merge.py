"""Several leaderboards made one, and a table made anew."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import Journal, Leaderboard
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.leaderboard.merge import merge, rebuild
from rayxkd.leaderboard.verify import verify
from rayxkd.storage import Storage
from tests.leaderboard.explained import evidence, probe
from tests.leaderboard.written import (
    NASTY_NAMES,
    SETTINGS,
    claim,
    row,
    sha,
    teachers,
    write_board,
    write_search,
)


def everything_is_right(address: str) -> bool:
    return all(finding.passed for finding in verify(address))


def test_rows_are_united_and_ranked_anew(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0), row("c", cost=3.0), row("x"))
    two = write_board(tmp_path / "two", row("b", cost=1.1), row("d", cost=0.95), row("y"))
    done = merge([one, two], str(tmp_path / "all"))
    table = Leaderboard.open(str(tmp_path / "all")).table
    assert table.equals(done.leaderboard.table)
    assert table["teacher"].to_pylist() == ["d", "a", "b", "c", "x", "y"]
    assert table["rank"].to_pylist() == [1, 2, 3, 4, None, None]
    assert table["tied"].to_pylist() == [True, True, True, False, None, None]
    assert done.replaced == 0
    assert everything_is_right(str(tmp_path / "all"))


@pytest.mark.parametrize("turned", [False, True])
def test_the_newest_row_of_a_teacher_wins(turned, tmp_path):
    old, new = row("a", cost=1.0, minutes=1), row("a", reason="it is gone", minutes=2)
    boards = [write_board(tmp_path / "one", old), write_board(tmp_path / "two", new)]
    done = merge(boards[::-1] if turned else boards, str(tmp_path / "all"))
    assert done.leaderboard.table["reason"].to_pylist() == ["it is gone"]
    assert done.replaced == 1
    assert merge([*boards, str(tmp_path / "all")], str(tmp_path / "all")).replaced == 1


def test_a_scan_goes_on_with_what_was_merged(tmp_path):
    rows = [row(name, cost=float(place)) for place, name in enumerate(NASTY_NAMES)]
    one, two = write_board(tmp_path / "one", *rows[:4]), write_board(tmp_path / "two", *rows[4:])
    merge([one, two], str(tmp_path / "all"))
    journal = Journal(Storage.at(str(tmp_path / "all")))
    journal.begin(SETTINGS)
    assert sorted(journal.read_parts(), key=lambda part: part.transport_cost) == rows
    assert claim(tmp_path / "all") == claim(tmp_path / "one")
    with pytest.raises(UserError, match="--seed 0, not 1"):
        journal.begin({**SETTINGS, "seed": 1})


def test_two_teachers_of_one_name_are_refused(tmp_path):
    one = write_board(tmp_path / "one", row("zoo/a", cost=1.0))
    two = write_board(tmp_path / "two", row("zoo/a", cost=1.0, repository="s3://other/zoo"))
    with pytest.raises(
        UserError, match="'zoo/a' is a teacher of zoo and another of s3://other/zoo"
    ):
        merge([one, two], str(tmp_path / "all"))
    assert not (tmp_path / "all").exists()


def test_other_configurations_are_refused_with_the_option(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    other = {**SETTINGS, "cost": "prototype"}
    changed = row("b", cost=1.0, config_digest=sha("prototype"))
    two = write_board(tmp_path / "two", changed, settings=other)
    message = r"different configurations \(--cost learned and prototype\)"
    with pytest.raises(UserError, match=message) as caught:
        merge([one, two], str(tmp_path / "all"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "all").exists()


def test_other_probe_sets_are_refused_with_their_digests_where_options_are_the_same(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    two = write_board(tmp_path / "two", row("b", cost=1.0, probe_digest=sha("other")))
    known = f"{sha('photos')[:12]} and {sha('other')[:12]}"
    with pytest.raises(UserError, match=rf"different probe sets \(digests {known}\)"):
        merge([one, two], str(tmp_path / "all"))


def test_failures_of_another_configuration_are_no_obstacle(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    two = write_board(tmp_path / "two", row("b", config_digest=sha("older")))
    merge([one, two], str(tmp_path / "all"))
    assert teachers(str(tmp_path / "all")) == ["a", "b"]


def test_a_directory_in_use_is_refused(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    two = write_board(tmp_path / "two", row("b", cost=2.0))
    three = write_board(tmp_path / "three", row("c", cost=3.0))
    with pytest.raises(UserError, match="holds a leaderboard already: name it among"):
        merge([one, two], three)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="which is no leaderboard of rayxkd"):
        merge([one, two], str(tmp_path / "thesis"))
    assert (tmp_path / "thesis/thesis.tex").read_text() == "years of work"


def test_it_can_be_merged_into_one_of_them(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    two = write_board(
        tmp_path / "two", row("b", cost=2.0), settings={**SETTINGS, "probe": "s3://p"}
    )
    merge([one, two], two)
    assert teachers(two) == ["a", "b"]
    assert claim(tmp_path / "two")["settings"]["probe"] == "s3://p"
    assert everything_is_right(two)


def test_what_cannot_be_merged_is_told(tmp_path, capsys):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    search = write_search(tmp_path / "search")
    with pytest.raises(UserError, match="needs two or more different leaderboards"):
        merge([one, one], str(tmp_path / "all"))
    with pytest.raises(UserError, match="holds the trials of a search: merge works on"):
        merge([one, search], str(tmp_path / "all"))
    with pytest.raises(UserError, match="there is no leaderboard at"):
        merge([one, str(tmp_path / "nowhere")], str(tmp_path / "all"))
    assert run_app(app, ["merge", one, "--out", str(tmp_path / "all")]) == 1
    assert capsys.readouterr().err.startswith("error: merge needs two or more")


def test_a_damaged_row_is_told(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    two = write_board(tmp_path / "two", row("b", cost=1.0))
    table = pq.read_table(f"{two}/leaderboard.parquet")
    place = table.schema.get_field_index("status")
    table = table.set_column(place, table.schema.field("status"), [["superb"]])
    pq.write_table(table, f"{two}/leaderboard.parquet")
    with pytest.raises(UserError, match=r"row 1 of .*/two is damaged: 'superb'.*verify tells more"):
        merge([one, two], str(tmp_path / "all"))


def test_boards_in_a_bucket_can_be_merged(tmp_path):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    two = write_board(tmp_path / "two", row("b", cost=2.0))
    merge([one, two], "memory://merged/all")
    assert teachers("memory://merged/all") == ["a", "b"]
    assert everything_is_right("memory://merged/all")


def test_the_command_says_what_it_did(tmp_path, capsys):
    one = write_board(tmp_path / "one", row("a", cost=1.0))
    two = write_board(tmp_path / "two", row("a", cost=2.0, minutes=1), row("b", cost=1.5))
    assert run_app(app, ["merge", one, two, "--out", str(tmp_path / "all")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "2 teachers of 2 leaderboards, 1 row(s) replaced by newer ones",
        f"leaderboard: {tmp_path / 'all'}",
    ]


def test_rebuild_makes_the_table_that_was_there(tmp_path, capsys):
    address = write_board(tmp_path / "b", row("a", cost=1.0), row("b", cost=1.1), row("c"))
    before = pq.read_table(f"{address}/leaderboard.parquet")
    (tmp_path / "b/leaderboard.parquet").unlink()
    assert run_app(app, ["rebuild", address]) == 0
    assert "3 teachers, 0 part(s) unreadable" in capsys.readouterr().out
    assert pq.read_table(f"{address}/leaderboard.parquet").equals(before, check_metadata=True)


def test_rebuild_counts_what_it_cannot_read(tmp_path, capsys):
    address = write_board(tmp_path / "b", row("a", cost=1.0), row("b", cost=1.1))
    whole = next((tmp_path / "b/parts").iterdir()).read_bytes()
    (tmp_path / "b/parts/torn.parquet").write_bytes(whole[:-50])
    assert run_app(app, ["rebuild", address]) == 0
    out = capsys.readouterr().out
    assert "2 teachers, 1 part(s) unreadable" in out
    assert "unreadable: parts/torn.parquet" in out


def test_rebuild_leaves_out_rows_of_an_older_configuration(tmp_path):
    old = row("old", cost=1.0, config_digest=sha("older"))
    address = write_board(tmp_path / "b", old, row("new", cost=2.0, minutes=1))
    done = rebuild(address)
    assert (teachers(address), done.outdated) == (["new"], 1)


def test_without_a_journal_nothing_is_rebuilt(tmp_path):
    address = write_board(tmp_path / "b", row("a", cost=1.0))
    table = (tmp_path / "b/leaderboard.parquet").read_bytes()
    for part in (tmp_path / "b/parts").iterdir():
        part.write_text("torn")
    with pytest.raises(UserError, match="none of the 1 file"):
        rebuild(address)
    assert (tmp_path / "b/leaderboard.parquet").read_bytes() == table
    with pytest.raises(UserError, match="has no parts/ to make a table of"):
        rebuild(write_search(tmp_path / "search"))
    with pytest.raises(UserError, match="has no parts/"):
        rebuild(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_a_row_keeps_every_value(tmp_path):
    full = replace(row("a", cost=1 / 3), device="cuda:0", temperature=8.0, weights_bytes=2**33)
    one, two = write_board(tmp_path / "one", full), write_board(tmp_path / "two", row("b"))
    merge([one, two], str(tmp_path / "all"))
    found = {part.teacher: part for part in Journal(Storage.at(str(tmp_path / "all"))).read_parts()}
    assert found["a"] == full
    about = json.loads(pq.read_schema(tmp_path / "all/leaderboard.parquet").metadata[b"rayxkd"])
    assert about["settings"] == SETTINGS


def test_what_explains_a_row_goes_with_it(tmp_path):
    newer, older = row("zoo/a", 1.0, minutes=5), row("zoo/a", 2.0)
    one = write_board(tmp_path / "one", newer, row("zoo/b", 1.5))
    two = write_board(tmp_path / "two", older, row("zoo/c", 1.7))
    for address, said, cost in ((one, newer, 1.0), (two, older, 2.0)):
        store = EvidenceStore(Storage.at(address))
        store.write(evidence(said, np.full(6, cost)))
        store.write_pictures(probe())

    merged = merge([one, two], str(tmp_path / "all")).leaderboard

    store = EvidenceStore(Storage.at(merged.url))
    found = store.read(merged.table.to_pylist())
    assert found.keys() == {"zoo/a"}
    assert found["zoo/a"].image_cost_N.tolist() == [1.0] * 6
    assert store.read_pictures() is not None
