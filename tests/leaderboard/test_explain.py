from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard
from rayxkd.leaderboard.certainty import certainty_of
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.leaderboard.explain import explain
from rayxkd.leaderboard.explanation import Pair
from rayxkd.storage import Storage
from tests.leaderboard.explained import CLASSES, evidence, explained_board, probe
from tests.leaderboard.written import row, write_board


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    return explained_board(tmp_path_factory.mktemp("explained"))


def test_pairs_are_those_above_chance(board: Leaderboard) -> None:
    daisy, other = explain(board, "best").classes

    assert [daisy.name, other.name] == list(CLASSES)
    (pair,) = daisy.pairs  # the bee carries less of it than chance: 0.05 of 0.5, not 0.25
    assert pair == Pair(
        "ox-eye daisy, moon daisy",
        share=pytest.approx(0.3 / 0.5),
        lift=pytest.approx(0.3 / (0.35 * 0.5)),
        cost=pytest.approx(1.0 - 2.0),
    )
    assert [one.source for one in other.pairs] == ["<b>bee</b> \x1b[31m"]


def test_classes_are_counted(board: Leaderboard) -> None:
    found = explain(board, "best")
    daisy, other = found.classes

    assert (daisy.images, other.images) == (3, 3)
    assert daisy.cost == pytest.approx((0.1 + 0.2 + 0.2) / 3)
    assert daisy.accuracy == pytest.approx(2 / 3)
    assert daisy.confused == (CLASSES[1], pytest.approx(1 / 3))
    assert found.accuracy == pytest.approx(4 / 6)


def test_worst_images_come_first(board: Leaderboard) -> None:
    worst = explain(board, "best").worst

    assert [one.place for one in worst] == [3, 2, 1, 4, 0]
    assert worst[0].index == 30
    assert worst[0].label == CLASSES[1]
    assert worst[0].nearest == "daisy"
    assert worst[0].top == (("bee", 0.5), ("ox-eye daisy", 0.125))
    assert worst[1].top == ()  # nothing was kept of it


def test_a_rank_that_no_image_disputes_is_sure(board: Leaderboard) -> None:
    certainty = explain(board, "zoo/best").certainty

    assert certainty is not None
    assert (certainty.low, certainty.high, certainty.first) == (1, 1, 1.0)
    assert certainty.beats["zoo/odd"] == 1.0


def test_a_rank_that_images_dispute_is_not(board: Leaderboard) -> None:
    certainty = explain(board, "zoo/even").certainty

    assert certainty is not None
    assert (certainty.low, certainty.high, certainty.first) == (2, 3, 0.0)
    assert 0.3 < certainty.beats["zoo/odd"] < 0.7


@given(
    offset=st.floats(0.01, 2),
    teachers=st.integers(1, 6),
    better=st.integers(0, 3),
    seed=st.integers(0, 9),
)
@settings(max_examples=25, deadline=None)
def test_pairing_cancels_what_is_hard_for_all(
    offset: float, teachers: int, better: int, seed: int
) -> None:
    hard_N = np.random.default_rng(seed).exponential(50, size=40)
    costs = {f"t{place}": hard_N + place * offset for place in range(teachers)}

    for place in range(teachers):
        found = certainty_of(f"t{place}", costs, better, seed)
        assert (found.low, found.high) == (1 + better + place, 1 + better + place)
        assert found.first == float(place + better == 0)


def test_copies_are_as_good_as_each_other() -> None:
    cost_N = np.random.default_rng(0).normal(size=30)

    found = certainty_of("a", {"a": cost_N, "b": cost_N.copy()})

    assert found.beats["b"] == 0.5
    assert (found.low, found.high) == (1, 1)


def test_other_metrics_know_which_way_is_better(board: Leaderboard) -> None:
    found = {one.name: one for one in explain(board, "zoo/odd").scores}

    assert (found["leep"].rank, found["leep"].teachers) == (3, 3)  # leep is -cost, higher is better


def test_evidence_comes_back_as_it_was_written(tmp_path: Path) -> None:
    one = row("zoo/a", 1.0)
    written = evidence(one, np.arange(6))
    store = EvidenceStore(Storage.at(str(tmp_path)))
    store.write(written)
    store.write_pictures(probe((b"jpeg", *(None,) * 5)))

    found = store.read([one.as_row()])["zoo/a"]

    assert found.top_names == written.top_names
    np.testing.assert_array_equal(found.map_SM, written.map_SM)
    np.testing.assert_array_equal(found.nearest_N, written.nearest_N)
    np.testing.assert_allclose(found.target_mass_M, [0.5, 0.5])
    pictures = store.read_pictures()
    assert pictures is not None
    assert pictures.pictures == (b"jpeg", *(None,) * 5)
    assert pictures.class_names == CLASSES


@pytest.mark.parametrize("column", ["teacher_digest", "probe_digest", "config_digest"])
def test_evidence_of_another_assessment_is_not_taken(tmp_path: Path, column: str) -> None:
    one = row("zoo/a", 1.0)
    store = EvidenceStore(Storage.at(str(tmp_path)))
    store.write(evidence(one, np.arange(6), **{column: "0" * 64}))

    assert store.read([one.as_row()]) == {}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\0" * 100])
def test_damaged_evidence_is_as_none(tmp_path: Path, content: bytes) -> None:
    one = row("zoo/a", 1.0)
    address = write_board(tmp_path / "board", one)
    store = EvidenceStore(Storage.at(address))
    store.write(evidence(one, np.arange(6)))
    store.write_pictures(probe())
    (file,) = (tmp_path / "board" / "evidence").iterdir()
    file.write_bytes(content)

    found = explain(Leaderboard.open(address), "zoo/a")

    assert found.classes == ()
    assert "--no-evidence" in found.missing


def test_commands_print_what_is_known(
    board: Leaderboard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["explain", board.url, "best"]) == 0
    printed = capsys.readouterr().out

    assert "zoo/best: rank 1 of 3" in printed
    assert "ox-eye daisy 60% (1.7x)" in printed
    assert "\\x1b[31m" in printed
    assert "\x1b" not in printed
    assert run_app(app, ["explain", board.url, "best", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["certainty"]["low"] == 1
    assert content["row"]["teacher"] == "zoo/best"


def test_a_failed_teacher_says_why(board: Leaderboard, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["explain", board.url, "zoo/broken"]) == 0
    printed = capsys.readouterr().out

    assert "zoo/broken: invalid, no rank" in printed
    assert "its card says no" in printed
    assert "--retry-failed" in printed


@pytest.mark.parametrize(
    ("name", "said"),
    [("zoo/bets", "'zoo/best'"), ("nothing-like-it", "'zoo/best', 'zoo/even', 'zoo/odd'")],
)
def test_an_unknown_teacher_is_one_line(board: Leaderboard, name: str, said: str) -> None:
    with pytest.raises(UserError, match="there is no teacher") as caught:
        explain(board, name)
    assert said in str(caught.value)


def test_the_last_part_of_a_name_must_be_one(tmp_path: Path) -> None:
    address = write_board(tmp_path / "b", row("x/same", 1.0), row("y/same", 2.0), row("same", 3.0))
    board = Leaderboard.open(address)

    assert explain(board, "same").row["teacher"] == "same"
    other = write_board(tmp_path / "c", row("x/same", 1.0), row("y/same", 2.0))
    with pytest.raises(UserError, match="'x/same', 'y/same': give the whole name"):
        explain(Leaderboard.open(other), "same")


def test_an_empty_leaderboard_has_nobody_to_explain(tmp_path: Path) -> None:
    board = Leaderboard.open(write_board(tmp_path / "b"))

    with pytest.raises(UserError, match="nothing has a row"):
        explain(board, "best")
