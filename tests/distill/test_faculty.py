"""Teachers off a leaderboard: the best, named ones, several; and those that cannot teach."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rayxkd.assess import AssessSettings, assess
from rayxkd.distill.faculty import choose_teachers
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard

CLASSES = ("five", "six", "seven", "eight", "nine")


@pytest.fixture
def ranked(assessed: Path) -> Leaderboard:
    return Leaderboard.open(str(assessed))


def refused(board: Leaderboard, *names: str, classes: tuple[str, ...] = CLASSES) -> str:
    with pytest.raises(UserError) as caught:
        choose_teachers(board, names, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_best_is_the_first_of_the_ranking(ranked: Leaderboard) -> None:
    (chosen,) = choose_teachers(ranked, ("best",), CLASSES)
    row = ranked.table.to_pylist()[0]
    assert (row["rank"], row["teacher"]) == (1, "zoo/ten_digits")
    assert chosen.card.teacher == "zoo/ten_digits"
    assert chosen.digest == row["teacher_digest"]
    assert chosen.weight == 1


def test_a_faculty_is_weighted_by_its_costs(ranked: Leaderboard) -> None:
    names = ("zoo/shuffled_labels", "zoo/ten_digits", "zoo/low_digits")
    chosen = choose_teachers(ranked, names, CLASSES)
    assert [one.card.teacher for one in chosen] == [
        "zoo/ten_digits",
        "zoo/low_digits",
        "zoo/shuffled_labels",
    ]
    cost = {row["teacher"]: row["transport_cost"] for row in ranked.table.to_pylist()}
    likelihoods = np.array([np.exp(-cost[one.card.teacher]) for one in chosen])
    assert [one.weight for one in chosen] == pytest.approx(likelihoods / likelihoods.sum())
    assert sum(one.weight for one in chosen) == pytest.approx(1)


@pytest.mark.parametrize(
    "names",
    [("zoo/ten_digits", "zoo/ten_digits"), ("best", "zoo/ten_digits"), ("zoo/ten_digits", "best")],
)
def test_a_teacher_named_twice_teaches_once(ranked: Leaderboard, names: tuple[str, ...]) -> None:
    (chosen,) = choose_teachers(ranked, names, CLASSES)
    assert chosen.weight == 1


def test_a_name_that_is_not_on_it(ranked: Leaderboard) -> None:
    line = refused(ranked, "zoo/ten_digit")
    assert f"unknown teacher on {ranked.url} 'zoo/ten_digit': did you mean 'zoo/ten_digits'" in line


def test_a_teacher_that_is_not_ok(ranked: Leaderboard) -> None:
    line = refused(ranked, "zoo/broken")
    (row,) = [row for row in ranked.table.to_pylist() if row["teacher"] == "zoo/broken"]
    assert row["status"] in line
    assert row["reason"] in line
    assert line.startswith("teacher 'zoo/broken' cannot teach: it is ")


@pytest.mark.parametrize(
    "classes",
    [
        ("five", "six", "seven", "eight"),
        ("six", "five", "seven", "eight", "nine"),
        ("five", "six", "seven", "eight", "ten"),
    ],
)
def test_other_classes_than_those_of_the_scan(
    ranked: Leaderboard, classes: tuple[str, ...]
) -> None:
    line = refused(ranked, "best", classes=classes)
    assert "five, six, seven, eight, nine" in line
    assert ", ".join(classes) in line
    assert "assess the teachers on this task first" in line


def test_nobody_is_ok(ranked: Leaderboard) -> None:
    failed = ranked.table.filter([row != "ok" for row in ranked.table["status"].to_pylist()])
    assert failed.num_rows == 1
    assert "no teacher on the leaderboard" in refused(replace(ranked, table=failed), "best")


def test_no_leaderboard_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no leaderboard at"):
        Leaderboard.open(str(tmp_path / "nowhere"))


def test_a_teacher_that_has_gone(trained_zoo: Path, tmp_path: Path) -> None:
    """The leaderboard is there, its teacher is not any more."""
    zoo = tmp_path / "zoo"
    shutil.copytree(trained_zoo / "ten_digits", zoo / "ten_digits")
    settings = AssessSettings(repository=(str(zoo),), out=str(tmp_path / "board"), workers=0)
    board = assess(settings, Console(quiet=True)).leaderboard
    shutil.rmtree(zoo / "ten_digits")
    assert "zoo" in refused(board, "best")
    shutil.copytree(trained_zoo / "low_digits", zoo / "low_digits")
    assert f"teacher 'zoo/ten_digits' is not in {zoo} any more: assess again" in refused(
        board, "best"
    )
    shutil.rmtree(zoo)
    assert "zoo" in refused(board, "best")


@pytest.mark.parametrize("depth", ["folder itself", "below"])
def test_a_teacher_is_found_however_its_repository_was_given(
    trained_zoo: Path, tmp_path: Path, depth: str
) -> None:
    """A repository may be the teacher's own folder, and two may bear one name."""
    first, second = tmp_path / "a" / "zoo", tmp_path / "b" / "zoo"
    for zoo, name in ((first, "ten_digits"), (second, "low_digits")):
        shutil.copytree(trained_zoo / name, zoo / "same_name")
    if depth == "folder itself":
        repository = (str(first / "same_name"), str(second / "same_name"))
    else:
        repository = (str(first), str(second))
    settings = AssessSettings(repository=repository, out=str(tmp_path / "board"), workers=0)
    board = assess(settings, Console(quiet=True)).leaderboard
    names = [row["teacher"] for row in board.table.to_pylist()]
    assert len(set(names)) == 2, names
    chosen = choose_teachers(board, names, CLASSES)
    assert [one.card.num_classes for one in chosen] == [10, 5]
    for one in chosen:
        with one.repository.weights(one.card) as weights:
            assert weights.is_file()


def test_names_of_the_task_are_those_of_the_scan(assessed: Path) -> None:
    about = Leaderboard.open(str(assessed)).about
    assert json.loads(json.dumps(about["class_names"])) == list(CLASSES)
