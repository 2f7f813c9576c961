"""Every kind of damage is found, and by the question that is about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard, leaderboard_schema
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.schema import LATER_COLUMNS
from rayxkd.leaderboard.verify import verify
from rayxkd.status import Status
from tests.leaderboard.builders import ABOUT, METRICS
from tests.leaderboard.written import NASTY_NAMES, row, sha, write_board, write_search

Change = Callable[[list[dict[str, Any]]], Any]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two that are tied, one that is not, and two that failed."""
    rows = [row("a", cost=1.0), row("b", cost=1.1), row("c", cost=5.0)]
    rows += [row("x"), row("y", status=Status.TIMEOUT, reason="slow", teacher_digest="")]
    write_board(tmp_path / "board", *rows)
    return tmp_path / "board"


def failed(address: Path | str) -> dict[str, str]:
    """What did not pass: question to detail."""
    return {one.name: one.detail for one in verify(str(address)) if not one.passed}


def rewrite(folder: Path, change: Change) -> None:
    """Change the rows of the table, and the parts with it, so that the journal agrees."""
    file = folder / "leaderboard.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    shutil.rmtree(folder / "parts")
    (folder / "parts").mkdir()
    for number, one in enumerate(rows):
        part = pa.Table.from_pylist([one | {"rank": None, "tied": None}], schema=table.schema)
        pq.write_table(part, folder / f"parts/{number}.parquet")


def reshape(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    file = folder / "leaderboard.parquet"
    pq.write_table(change(pq.read_table(file)), file)


def setting(place: int, **values: Any) -> Change:
    return lambda rows: rows[place].update(values)


def test_a_whole_leaderboard_passes(folder, capsys):
    assert failed(folder) == {}
    assert run_app(app, ["verify", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["readable", "columns", "order", "ranks", "failures", "intervals", "ties"]
    names += ["digests", "names", "journal"]
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in names]


def test_hostile_names_pass_and_are_shown_as_they_are(tmp_path, capsys):
    rows = [row(name, cost=float(place)) for place, name in enumerate(NASTY_NAMES)]
    write_board(tmp_path / "b", *rows)
    assert run_app(app, ["verify", str(tmp_path / "b")]) == 0
    rewrite(tmp_path / "b", setting(6, rank=99))
    capsys.readouterr()
    assert run_app(app, ["verify", str(tmp_path / "b")]) == 1
    out = capsys.readouterr().out
    assert r"'zoo/two\nlines\tand\x1b[31mred' has rank 99, not 7" in out
    assert len(out.splitlines()) == 10


@pytest.mark.parametrize("rows", [[], [row("x")], [row("a", cost=1.0)]])
def test_small_ones_pass(rows, tmp_path):
    assert failed(write_board(tmp_path / "b", *rows)) == {}


def test_costs_without_intervals_pass(tmp_path):
    bare = {"transport_cost_low": None, "transport_cost_high": None}
    rows = [row(name, cost=cost, **bare) for name, cost in (("a", 1.0), ("b", 1.0), ("c", 2.0))]
    assert failed(write_board(tmp_path / "b", *rows)) == {}


def test_metrics_that_are_no_number_pass(tmp_path):
    metrics = {"leep": float("nan"), "h_score": float("inf")}
    assert failed(write_board(tmp_path / "b", row("a", cost=1.0, metrics=metrics))) == {}


@pytest.mark.parametrize(
    ("change", "question", "detail"),
    [
        (lambda rows: [rows[1], rows[0], *rows[2:]], "order", "'a' costs less than 'b'"),
        (
            setting(0, transport_cost=None, transport_cost_low=None, transport_cost_high=None),
            "order",
            "'a' is ok but has no cost",
        ),
        (setting(2, transport_cost=float("nan")), "order", "'c' is ok but has no cost"),
        (setting(1, rank=3), "ranks", "'b' has rank 3, not 2"),
        (setting(2, rank=4), "ranks", "'c' has rank 4, not 3"),
        (setting(0, rank=None), "ranks", "'a' has rank None, not 1"),
        (setting(3, rank=4), "failures", "'x' is invalid but has rank 4"),
        (setting(3, reason=""), "failures", "'x' is invalid without a reason"),
        (setting(3, reason=None), "failures", "'x' is invalid without a reason"),
        (setting(3, status="superb"), "failures", "'x' has the unknown status 'superb'"),
        (
            lambda rows: [rows[3], *rows[:3], rows[4]],
            "failures",
            "'x' is invalid and stands above one that is ok",
        ),
        (setting(0, transport_cost_low=1.01), "intervals", r"'a' costs 1.0, which is not in"),
        (setting(0, transport_cost_high=0.99), "intervals", r"'a' costs 1.0, which is not in"),
        (setting(0, transport_cost_high=None), "intervals", r"'a' costs 1.0, which is not in"),
        (setting(1, transport_cost_low=float("nan")), "intervals", "'b' costs 1.1"),
        (setting(1, tied=False), "ties", "'b' has tied = False"),
        (setting(2, tied=True), "ties", "'c' has tied = True"),
        (setting(0, tied=None), "ties", "'a' has tied = None"),
        (setting(3, tied=False), "ties", "'x' has tied = False"),
        (setting(0, teacher_digest="abc"), "digests", "'a' has the teacher_digest 'abc'"),
        (setting(0, teacher_digest=""), "digests", "'a' has the teacher_digest ''"),
        (setting(3, probe_digest=None), "digests", "'x' has the probe_digest 'None'"),
        (setting(1, config_digest="C" * 64), "digests", "'b' has the config_digest 'CCC"),
        (setting(1, probe_digest=sha("other")), "digests", "2 values of probe_digest"),
        (setting(1, config_digest=sha("other")), "digests", "2 values of config_digest"),
        (setting(1, teacher="a"), "names", "'a' has 2 rows"),
        (setting(1, teacher="a", repository="other"), "names", "'a' has 2 rows"),
    ],
)
def test_spoilt_rows_are_found(change, question, detail, folder):
    rewrite(folder, change)
    assert detail in failed(folder)[question]


@pytest.mark.parametrize("column", ["tied", "transport_cost", "repository", "finished_at", "leep"])
def test_a_missing_column_is_found(column, folder):
    reshape(folder, lambda table: table.drop_columns([column]))
    assert failed(folder) == {"columns": f"'{column}' is missing"}


def test_a_column_of_another_type_is_found(folder):
    def as_text(table):
        place = table.schema.get_field_index("parameters")
        return table.set_column(place, "parameters", table["parameters"].cast(pa.string()))

    reshape(folder, as_text)
    assert failed(folder) == {"columns": "'parameters' is string, not int64"}


def test_columns_that_came_later_may_be_missing(folder):
    reshape(folder, lambda table: table.drop_columns(sorted(LATER_COLUMNS)))
    assert failed(folder) == {}


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and PAR1"])
def test_a_table_that_cannot_be_read_is_found(content, folder):
    (folder / "leaderboard.parquet").unlink()
    if content is not None:
        (folder / "leaderboard.parquet").write_bytes(content)
    assert list(failed(folder)) == ["readable"]


def test_a_newer_schema_is_found(folder):
    about = {"rayxkd": json.dumps({"schema_version": 2, "metrics": []})}
    reshape(folder, lambda table: table.replace_schema_metadata(about))
    assert "upgrade rayxkd" in failed(folder)["readable"]


@pytest.mark.parametrize("metrics", [None, "leep"])
def test_metadata_without_metrics_are_found(metrics, folder):
    about = {"rayxkd": json.dumps({"schema_version": 1, "metrics": metrics})}
    reshape(folder, lambda table: table.replace_schema_metadata(about))
    assert "does not list the metrics" in failed(folder)["columns"]


def part_of(folder: Path, teacher: str) -> Path:
    return next(
        part
        for part in (folder / "parts").iterdir()
        if pq.read_table(part)["teacher"].to_pylist() == [teacher]
    )


def test_a_lost_part_is_found(folder):
    part_of(folder, "b").unlink()
    assert failed(folder) == {"journal": "1 row(s) have no part: 'b'"}


def test_a_lost_row_is_found(folder):
    reshape(folder, lambda table: table.slice(0, 4))
    assert failed(folder) == {"journal": "1 part(s) have no row: 'y'"}


def test_a_torn_part_is_found(folder):
    (folder / "parts/torn.parquet").write_text("torn")
    assert failed(folder) == {"journal": "parts/torn.parquet cannot be read"}


def test_a_part_that_says_otherwise_is_found(folder):
    file = part_of(folder, "b")
    table = pq.read_table(file)
    changed = table.to_pylist()[0] | {"parameters": 7, "leep": 0.5}
    pq.write_table(pa.Table.from_pylist([changed], schema=table.schema), file)
    assert failed(folder) == {"journal": "row and part of 'b' differ in leep, parameters"}


def test_a_journal_that_is_gone_is_found(folder):
    shutil.rmtree(folder / "parts")
    assert failed(folder)["journal"] == "5 row(s) have no part: 'a', 'b', 'c', ..."


def test_many_faults_are_counted(tmp_path):
    write_board(tmp_path / "b", *(row(f"t{number}", cost=float(number)) for number in range(9)))
    rewrite(tmp_path / "b", lambda rows: [one | {"rank": 0} for one in rows])
    assert failed(tmp_path / "b")["ranks"].endswith("; and 6 more")


def test_a_search_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds the trials of a search: verify works on"):
        list(verify(write_search(tmp_path / "search")))


def test_an_older_file_is_read_with_empty_columns(folder):
    reshape(folder, lambda table: table.drop_columns(sorted(LATER_COLUMNS)))
    table = Leaderboard.open(str(folder)).table
    expected = leaderboard_schema(METRICS, "nats", ABOUT)
    assert table.schema.equals(expected)
    for name in LATER_COLUMNS:
        assert table[name].null_count == table.num_rows
        assert table.schema.field(name).metadata == expected.field(name).metadata


def test_a_file_that_lacks_more_is_told_with_what_to_do(folder):
    reshape(folder, lambda table: table.drop_columns(["tied", "rank"]))
    with pytest.raises(UserError, match="lacks 'rank', 'tied'; make it anew with rebuild"):
        Leaderboard.open(str(folder))
    assert run_app(app, ["rebuild", str(folder)]) == 0
    assert failed(folder) == {}


def card_and_weights(folder: Path, weights: bytes = b"weights") -> None:
    folder.mkdir(parents=True)
    card = {"architecture": "resnet18", "num_classes": 10, "library_name": "timm"}
    (folder / "config.json").write_text(json.dumps(card))
    (folder / "model.safetensors").write_bytes(save({"weights": np.frombuffer(weights, "u1")}))


@pytest.fixture
def zoo(tmp_path) -> Path:
    """Two teachers that are whole, and a folder without a card."""
    for name in ("one", "two"):
        card_and_weights(tmp_path / "zoo" / name, name.encode())
    (tmp_path / "zoo/bad").mkdir()
    (tmp_path / "zoo/bad/model.safetensors").write_bytes(b"x")
    return tmp_path / "zoo"


@pytest.fixture
def board_of_zoo(zoo, tmp_path) -> str:
    from rayxkd.teachers import RejectedCard, open_repositories, teacher_digest

    rows = []
    (repository,) = open_repositories([str(zoo)])
    for place, card in enumerate(repository.cards()):
        bad = isinstance(card, RejectedCard)
        digest = card.card_digest
        if not bad:
            digest = teacher_digest(card, zoo.parent / card.teacher / "model.safetensors")
        cost = None if bad else float(place)
        rows.append(row(card.teacher, cost, repository=card.repository, teacher_digest=digest))
    return write_board(tmp_path / "board", *rows)


def of_teachers(address: str, *repositories: Path, digests: bool = True) -> dict[str, tuple]:
    found = verify(address, [str(one) for one in repositories], digests=digests)
    wanted = ("repository", "weights")
    return {one.name: (one.passed, one.detail) for one in found if one.name in wanted}


def test_the_teachers_of_a_repository_pass(board_of_zoo, zoo, capsys):
    assert of_teachers(board_of_zoo, zoo) == {
        "repository": (True, f"{zoo}: 3 teacher(s), a row each"),
        "weights": (True, f"{zoo}: 3 teacher(s) unchanged"),
    }
    assert list(of_teachers(board_of_zoo, zoo, digests=False)) == ["repository"]
    assert run_app(app, ["verify", board_of_zoo, "--repository", str(zoo), "--digests"]) == 0


def test_a_new_and_a_lost_teacher_are_found(board_of_zoo, zoo):
    (zoo / "two").rename(zoo / "three")
    passed, detail = of_teachers(board_of_zoo, zoo)["repository"]
    assert not passed
    assert "1 teacher(s) have no row: 'zoo/three'" in detail
    assert "1 row(s) have no teacher any more: 'zoo/two'" in detail


@pytest.mark.parametrize(("file", "end"), [("config.json", b" }"), ("model.safetensors", b"!")])
def test_other_weights_or_another_card_are_found(file, end, board_of_zoo, zoo):
    changed = zoo / "one" / file
    changed.write_bytes(changed.read_bytes()[:-1] + end)
    passed, detail = of_teachers(board_of_zoo, zoo)["weights"]
    assert (passed, detail) == (False, f"{zoo}: 'zoo/one': not the one that was assessed")
    assert of_teachers(board_of_zoo, zoo)["repository"][0]


def test_several_repositories_can_be_named(board_of_zoo, zoo, tmp_path, capsys):
    card_and_weights(tmp_path / "more/new")
    both = [str(zoo), str(tmp_path / "more")]
    assert run_app(app, ["verify", board_of_zoo, "--repository", *both]) == 1
    out = capsys.readouterr().out
    assert f"{both[0]}: 3 teacher(s), a row each" in out
    assert f"{both[1]}: 1 teacher(s) have no row: 'more/new'" in out


def test_digests_alone_are_a_mistake(board_of_zoo, capsys):
    assert run_app(app, ["verify", board_of_zoo, "--digests"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
