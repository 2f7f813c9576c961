"""A leaderboard for elsewhere: nothing is lost, and no name is obeyed."""

from __future__ import annotations

import csv
import io
import json
import re

import pyarrow.parquet as pq
import pytest
import yaml

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.export import export, exported
from rayxkd.leaderboard.latex import escaped
from tests.leaderboard.written import NASTY_NAMES, row, write_board, write_search

FORMATS = ("csv", "json", "jsonl", "markdown", "latex")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """Hostile names that are ok, the first two tied, and a failure."""
    folder = tmp_path_factory.mktemp("export") / "board"
    good = [row(name, cost=1.0 + place / 9) for place, name in enumerate(NASTY_NAMES)]
    return write_board(folder, *good, row("zoo/broken", reason="says $x$ & <b>\nmore"))


@pytest.fixture(scope="module")
def board(address) -> Leaderboard:
    return Leaderboard.open(address)


def test_csv_and_json_hold_every_column_and_name(board):
    expected = board.table.to_pylist()
    lines = list(csv.DictReader(io.StringIO(exported(board, "csv"))))
    rows = json.loads(exported(board, "json"))
    for found in (lines, rows):
        assert list(found[0]) == board.table.column_names
        assert [one["teacher"] for one in found] == [one["teacher"] for one in expected]
    for one in expected:
        one["finished_at"] = str(one["finished_at"])
    assert rows == expected


def test_jsonl_is_the_same_with_a_line_a_row(board):
    lines = exported(board, "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(exported(board, "json"))


def test_json_has_no_words_that_only_python_reads(tmp_path):
    metrics = {"leep": float("-inf"), "h_score": float("nan")}
    board = Leaderboard.open(write_board(tmp_path / "b", row("a", cost=1.0, metrics=metrics)))
    (found,) = json.loads(exported(board, "json"), parse_constant=pytest.fail)
    assert (found["leep"], found["h_score"]) == (None, None)


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_leaderboard_can_be_exported(form, tmp_path):
    text = exported(Leaderboard.open(write_board(tmp_path / "b")), form)
    assert text == "" if form == "jsonl" else text


def latex_rows(text: str) -> list[list[str]]:
    """The cells of a LaTeX table, split as TeX does."""
    body = text.split("\\midrule\n")[1].split("\\bottomrule", maxsplit=1)[0]
    lines = [line for line in body.splitlines() if line.endswith(r" \\")]
    return [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in lines]


def test_latex_has_a_row_a_teacher_and_as_many_cells_as_columns(board):
    text = exported(board, "latex")
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    rows = latex_rows(text)
    assert {len(cells) for cells in rows} == {len(columns)}
    assert len(rows) == len(NASTY_NAMES) + 1
    assert rows[0][0] == "1$^{=}$"
    assert rows[-1][0] == ""
    assert rows[-1][-1] == "invalid"
    assert rows[0][2:4] == ["$1.000$", "$[0.900, 1.100]$"]


@pytest.mark.parametrize("name", [*NASTY_NAMES, "".join(map(chr, range(0x20, 0x500)))])
def test_latex_obeys_no_name(name):
    """What is left when everything that we write on purpose is taken away is harmless."""
    left = escaped(name)
    commands = r"text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}"
    left = re.sub(rf"\\{commands}", "", left)
    left = re.sub(r"\\rayxkdchar\{[0-9A-F]{4,6}\}", "", left)
    left = re.sub(r"\{\\char\d+\}|-\{\}|\{\[\}|\{\]\}|\{\*\}|\\[{}$&#_%]", "", left)
    assert not re.search(r"[\\{}$&#_%~^<>|\"'`\[\]*\x00-\x1f\x7f]", left)
    assert "--" not in left
    left.encode("latin-1")  # pdfTeX knows no more


def test_latex_balances_its_braces(board):
    text = re.sub(r"\\[{}]", "", exported(board, "latex"))
    depths = [text[:place].count("{") - text[:place].count("}") for place in range(len(text))]
    assert min(depths) == 0
    assert text.count("{") == text.count("}")


def test_a_long_latex_table_goes_over_pages(tmp_path):
    rows = [row(f"t{number:02}", cost=1.0 + number) for number in range(51)]
    text = exported(Leaderboard.open(write_board(tmp_path / "b", *rows)), "latex")
    assert r"\begin{longtable}" in text
    assert "tabular" not in text
    assert len(re.findall(r"^\d+ & t\d\d & ", text, re.MULTILINE)) == 51


def test_latex_of_a_search_is_refused(tmp_path):
    board = Leaderboard.open(write_search(tmp_path / "search"))
    with pytest.raises(UserError, match="holds the trials of a search"):
        exported(board, "latex")
    assert json.loads(exported(board, "jsonl").splitlines()[0])["trial"] == 0


def test_datasets_is_a_folder_of_the_hub(board, tmp_path):
    export(board, "datasets", str(tmp_path / "set"), license="cc-by-4.0")
    card = (tmp_path / "set/README.md").read_text()
    _, header, text = card.split("---\n", 2)
    content = yaml.safe_load(header)
    assert content["license"] == "cc-by-4.0"
    (config,) = content["configs"]
    (files,) = config["data_files"]
    assert files["split"] == "train"
    assert files["path"] == "data/train-00000-of-00001.parquet"
    assert pq.read_table(tmp_path / "set" / files["path"]).equals(board.table)
    described = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    names = [cells[0].removeprefix("| ").replace("\\", "") for cells in described]
    assert names == board.table.column_names
    assert all(len(cells) == 5 and cells[4].removesuffix(" |") for cells in described)


def test_the_card_of_a_data_set_obeys_no_name(tmp_path):
    probe = "photos/<script>x</script>\n---\nlicense: mine\n# [a](b) `c` *d*"
    board = Leaderboard.open(write_board(tmp_path / "b", row("a", cost=1.0), probe=probe))
    export(board, "datasets", str(tmp_path / "set"), license="other\nconfigs: []")
    card = (tmp_path / "set/README.md").read_text()
    assert "<script>" not in card
    assert r"\\n---\\nlicense: mine\\n\# \[a\](b) \`c\` \*d\*" in card
    assert yaml.safe_load(card.split("---\n")[1])["configs"]


def test_datasets_needs_a_folder(board):
    with pytest.raises(UserError, match="give one with --out"):
        export(board, "datasets")


@pytest.mark.parametrize("form", [*FORMATS, "datasets"])
def test_what_is_there_is_only_replaced_on_demand(form, board, tmp_path):
    out = tmp_path / "deep/er"
    export(board, form, str(out))
    files = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for file in files:
        file.write_text("years of work")
    with pytest.raises(UserError, match="is there already: replace it with --overwrite"):
        export(board, form, str(out))
    assert {file.read_text() for file in files} == {"years of work"}
    export(board, form, str(out), overwrite=True)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == files


def test_other_files_beside_a_data_set_are_kept(board, tmp_path):
    (tmp_path / ".gitattributes").write_text("mine")
    export(board, "datasets", str(tmp_path), overwrite=True)
    assert (tmp_path / ".gitattributes").read_text() == "mine"


def test_a_file_is_no_folder_and_a_folder_no_file(board, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file: give another path"):
        export(board, "datasets", str(tmp_path / "file"), overwrite=True)
    with pytest.raises(UserError, match="is a folder: give another path"):
        export(board, "csv", str(tmp_path), overwrite=True)
    with pytest.raises(UserError, match="cannot be written"):
        export(board, "csv", str(tmp_path / "file/below"))


def test_an_export_may_go_to_any_storage(board):
    import fsspec

    export(board, "json", "memory://exports/board.json")
    export(board, "datasets", "memory://exports/set")
    files = fsspec.filesystem("memory")
    assert json.loads(files.cat("/exports/board.json"))[0]["teacher"] == NASTY_NAMES[0]
    assert files.exists("/exports/set/data/train-00000-of-00001.parquet")
    with pytest.raises(UserError, match="is there already"):
        export(board, "json", "memory://exports/board.json")


def test_the_command_writes_to_standard_output_or_a_file(address, tmp_path, capsys):
    assert run_app(app, ["export", address, "--format", "jsonl", "--top", "2"]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 2
    out = ["--out", str(tmp_path / "x.jsonl")]
    assert run_app(app, ["export", address, "--format", "jsonl", "--top", "2", *out]) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "x.jsonl").read_text() == printed
    assert run_app(app, ["export", address, "--format", "jsonl", *out]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run_app(app, ["export", address, "--format", "xml"]) == 1
    assert "Choose from: " in capsys.readouterr().err
