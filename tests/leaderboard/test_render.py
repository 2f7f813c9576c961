"""A leaderboard as text: right for programs, and literal for people."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime

import pytest
from rich.console import Console

from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard, print_table, render, select
from rayxkd.leaderboard.ranking import ranked_table
from rayxkd.status import Status
from tests.leaderboard.builders import HOSTILE_NAMES, METRICS, SCHEMA, assessment

TITLES = ["rank", "teacher", "cost [95 % interval]", "relative", *METRICS]
TITLES += ["classes", "size", "status"]


def board_of(*rows) -> Leaderboard:
    return Leaderboard.of("here", ranked_table(rows, SCHEMA))


def printed(board: Leaderboard, width: int, **how) -> str:
    console = Console(file=io.StringIO(), width=width, **how)
    print_table(board, console)
    return console.file.getvalue()


def markdown_rows(text: str) -> list[list[str]]:
    """The cells of a GitHub table; every row must have as many as the first."""
    rows = []
    for line in text.splitlines():
        assert line.startswith("| "), line
        assert line.endswith(" |"), line
        cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]
        rows.append([cell.strip() for cell in cells])
    assert {len(row) for row in rows} == {len(rows[0])}
    return rows


def test_csv_gives_every_cell_back(board):
    found = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    rows = board.table.to_pylist()
    assert list(found[0]) == board.table.column_names
    assert [row["teacher"] for row in found] == [row["teacher"] for row in rows]
    assert [row["reason"] for row in found] == [row["reason"] for row in rows]
    assert [float(row["transport_cost"]) for row in found[:10]] == [
        row["transport_cost"] for row in rows[:10]
    ]
    assert [row["rank"] for row in found] == [str(place) for place in range(1, 11)] + ["", ""]


def test_json_gives_every_value_back(board):
    found = json.loads(render(board, "json"))
    for row in (rows := board.table.to_pylist()):
        row["finished_at"] = str(row["finished_at"])
    assert found == rows
    assert datetime.fromisoformat(found[0]["finished_at"]).utcoffset() is not None


def test_json_has_no_words_that_only_python_reads():
    board = board_of(
        assessment("a", cost=1.0, metrics={"leep": float("-inf"), "h_score": float("nan")})
    )

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    (row,) = json.loads(render(board, "json"), parse_constant=refuse)
    assert (row["leep"], row["h_score"]) == (None, None)


def test_markdown_has_the_columns_that_are_printed(board):
    titles, rules, *rows = markdown_rows(render(board, "markdown"))
    assert titles == TITLES
    assert {rule.strip(":") for rule in rules} == {"---"}
    assert len(rows) == 12
    first = ["1", HOSTILE_NAMES[0], "0.500 [0.400, 0.600]", "0.250", "-0.500", "3.500"]
    assert rows[0] == [*first, "1000", "3.5M", "ok"]
    assert rows[-1] == ["", "zoo/huge", "", "", "", "", "", "", "out_of_memory"]


def test_markdown_keeps_each_name_in_its_cell(board):
    _, _, *rows = markdown_rows(render(board, "markdown"))
    names = [row[1] for row in rows[:10]]
    assert names[0] == "zoo/[bold]x[/bold]"
    assert names[1] == r"zoo/a\|b"
    assert names[3] == r"zoo/two\\nlines"
    assert names[4] == r"zoo/\\x1b[31mred"
    assert names[5] == "zoo/&lt;b>bold&lt;/b>"
    assert names[7] == r"zoo/back\\slash\\"
    assert names[8] == HOSTILE_NAMES[8]


def test_markdown_shows_ties():
    board = board_of(assessment("a", cost=1.0), assessment("b", cost=1.1))
    _, _, *rows = markdown_rows(render(board, "markdown"))
    assert [row[0] for row in rows] == ["1=", "2="]


def test_an_empty_leaderboard_can_be_rendered():
    empty = board_of()
    assert json.loads(render(empty, "json")) == []
    assert len(list(csv.reader(io.StringIO(render(empty, "csv"))))) == 1
    assert len(markdown_rows(render(empty, "markdown"))) == 2
    assert "512 images of 2 classes" in printed(empty, 80)


def test_an_unknown_format_is_answered_with_the_known_ones(board):
    with pytest.raises(UserError, match=r"unknown format 'jsn': did you mean 'json'.*markdown"):
        render(board, "jsn")


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("color_system", [None, "truecolor"])
def test_names_are_shown_as_they_are(width, color_system, board):
    """No markup, no emoji, no colours and no line breaks from a repository; nothing is cut off."""
    text = printed(board, width, color_system=color_system, force_terminal=color_system is not None)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text)
    if color_system is None:
        assert "\x1b" not in text
    else:
        assert "\x1b[31mred" not in text
        assert "\x1b[2J" not in text
    start = column_of(shown, "teacher")
    column = "".join(line[start : column_of(shown, "cost")] for line in shown.splitlines()[2:])
    column = column.replace(" ", "")
    for name in HOSTILE_NAMES[:8]:
        visible = name.replace("\n", r"\n").replace("\x1b", r"\x1b")
        assert visible.replace(" ", "") in column
    assert max(map(len, shown.splitlines()[1:14])) <= width


def column_of(text: str, title: str) -> int:
    header = next(line for line in text.splitlines() if line.startswith("rank"))
    return header.index(title)


def test_wide_output_is_one_line_a_teacher(board):
    lines = printed(board, 200).splitlines()
    assert lines[0].startswith("photos/[bold]flowers[/bold] :cat:: 512 images of 2 classes, ")
    assert lines[0].endswith("cost 'learned' in nats, lower is better")
    assert lines[1].split()[:3] == ["rank", "teacher", "cost"]
    assert re.split(r"\s{2,}| (?=zoo)", lines[2].strip())[:2] == ["1", "zoo/[bold]x[/bold]"]
    assert "0.500 [0.400, 0.600]" in lines[2]
    assert len(lines) == 2 + 12 + 2  # heading, teachers, reasons
    assert lines[-2] == r"zoo/broken: its card says [red]x[/red] :cat:\nand \x1b[2J more"
    assert lines[-1] == "zoo/huge: needs 80 GB"


def test_costs_are_never_cut_off(board):
    text = printed(board, 80)
    for place in range(10):
        assert f"{0.5 + place:.3f} [{0.4 + place:.3f}, {0.6 + place:.3f}]" in text


def test_ties_are_marked_and_explained():
    text = printed(board_of(assessment("a", cost=1.0), assessment("b", cost=1.1)), 100)
    assert re.search(r"^ +1 ┐ a .*\n +2 ┘ b ", text, re.MULTILINE)
    assert "┤ tied: the interval overlaps the leader's" in text
    alone = printed(board_of(assessment("a", cost=1.0), assessment("b", cost=5.0)), 100)
    assert "tied" not in alone


def test_a_cost_without_an_interval_is_shown_alone():
    row = assessment("a", cost=1.25, transport_cost_low=None, transport_cost_high=None)
    assert " 1.250 " in printed(board_of(row), 100)


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [(0, "0"), (999, "999"), (1_000, "1k"), (3_504_872, "3.5M"), (7 * 10**9, "7B")],
)
def test_sizes_have_three_digits(parameters, shown):
    text = render(board_of(assessment("a", cost=1.0, parameters=parameters)), "markdown")
    assert markdown_rows(text)[-1][TITLES.index("size")] == shown


def test_select_takes_the_first_rows_of_one_status(board):
    assert select(board).table.equals(board.table)
    assert select(board, top=3).table["rank"].to_pylist() == [1, 2, 3]
    assert select(board, top=0).table.num_rows == 0
    assert select(board, top=99).table.num_rows == 12
    assert select(board, status="invalid").table["teacher"].to_pylist() == ["zoo/broken"]
    assert select(board, status="timeout").table.num_rows == 0
    assert select(board, top=1, status=Status.OUT_OF_MEMORY).table.num_rows == 1
    assert select(board, top=1).about == board.about


def test_what_cannot_be_selected_is_told(board):
    with pytest.raises(UserError, match=r"unknown status 'crash': did you mean 'crashed'.*timeout"):
        select(board, status="crash")
    with pytest.raises(UserError, match="--top -1 is no number of rows"):
        select(board, top=-1)
