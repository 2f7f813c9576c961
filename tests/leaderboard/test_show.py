"""`show`: choosing, sorting, drawing and watching, on real Parquet tables."""

from __future__ import annotations

import builtins
import io
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import (
    Journal,
    Leaderboard,
    TrialRow,
    TrialStatus,
    parquet_of,
    print_table,
    ranked_trials,
    render,
    search_table,
    select,
)
from rayxkd.leaderboard.chart import Axis, bracket
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.pareto import pareto_front
from rayxkd.leaderboard.watch import watch
from rayxkd.status import Status
from rayxkd.storage import Storage
from tests.leaderboard.builders import SCHEMA, assessment

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TIMED = {"images_seen": 100}
ROWS = (
    assessment("a", cost=1.0, parameters=9_000_000, forward_seconds=10.0, license="mit", **TIMED),
    assessment("b", cost=1.1, parameters=5_000_000, forward_seconds=20.0, num_classes=10, **TIMED),
    assessment(
        "c", cost=2.0, parameters=6_000_000, forward_seconds=1.0, license="apache-2.0", **TIMED
    ),
    assessment("d", cost=3.0, parameters=1_000, forward_seconds=None),
    assessment("z-broken", parameters=1, reason="no weights"),
    assessment("z-huge", status=Status.OUT_OF_MEMORY, reason="needs 80 GB"),
)


def write(folder, *rows) -> Leaderboard:
    Journal(Storage.at(str(folder))).write_table(rows, SCHEMA)
    return Leaderboard.open(str(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    write(folder, *ROWS)
    return folder


@pytest.fixture(scope="module")
def board(folder) -> Leaderboard:
    return Leaderboard.open(str(folder))


@pytest.fixture(scope="module")
def trials(tmp_path_factory) -> Leaderboard:
    common = {"default": False, "form": "expected", "epsilon": 0.1, "learning_rate": 0.01}
    rows = [
        TrialRow(
            trial=number,
            status=TrialStatus.OK,
            cost=("learned", "prototype")[number % 2],
            weight=float(number),
            accuracy=0.5 + number / 10,
            accuracy_low=0.4 + number / 10,
            accuracy_high=0.6 + number / 10,
            **common,
        )
        for number in range(3)
    ]
    failed = TrialRow(
        trial=3, status=TrialStatus.FAILED, cost="learned", weight=9.0, reason="NaN", **common
    )
    about = {
        "data": "photos",
        "validation_images": 100,
        "teachers": ["x"],
        "views_asked": 1,
        "views_known": 0,
    }
    folder = tmp_path_factory.mktemp("search")
    content = parquet_of(search_table(ranked_trials([*rows, failed]), about))
    (folder / "leaderboard.parquet").write_bytes(content)
    return Leaderboard.open(str(folder))


def teachers(board: Leaderboard) -> list[str]:
    return board.table["teacher"].to_pylist()


def printed(board: Leaderboard, width: int = 200, *, top=None, encoding="utf-8", **how) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    print_table(board, Console(file=file, width=width, **how), top=top)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if f" {name} " in line)


# Choosing and sorting


@pytest.mark.parametrize(
    ("sort", "descending", "order"),
    [
        ("transport_cost", False, "abcd"),
        ("-transport_cost", False, "dcba"),
        ("cost", True, "dcba"),
        ("leep", False, "abcd"),  # here more is better
        ("-leep", False, "dcba"),
        ("leep", True, "abcd"),
        ("size", False, "dbca"),
        ("images_per_second", False, "cabd"),  # no speed: last
        ("-images_per_second", False, "bacd"),
        ("license", False, "cabd"),
        ("-license", False, "acbd"),
        ("h_score", False, "abcd"),  # all equal: by rank
    ],
)
def test_sorting_begins_with_the_better(sort, descending, order, board):
    found = teachers(select(board, sort=sort, descending=descending))
    assert found == [*order, "z-broken", "z-huge"]


def test_only_by_status_do_failures_come_before_others(board):
    found = select(board, sort="-status").table["status"].to_pylist()
    assert found == ["out_of_memory", "ok", "ok", "ok", "ok", "invalid"]


def test_top_is_taken_after_sorting_and_choosing(board):
    assert teachers(select(board, sort="size", where="num_classes > 10", top=2)) == ["d", "c"]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("num_classes < 100", ["b"]),
        ("num_classes >= 100 and license = 'apache-2.0'", ["c"]),
        ("license is null and status = 'ok'", ["b", "d"]),
        ("images_per_second > 8", ["a", "c"]),
        ("size < 1e6", ["d", "z-broken"]),
        ("teacher like 'z-%'", ["z-broken", "z-huge"]),
        ("finished_at > '2030-01-01'", []),
        ("not (transport_cost > 1.5)", ["a", "b"]),
        ("true -- everything", [*"abcd", "z-broken", "z-huge"]),
    ],
)
def test_where_keeps_rows_in_order_and_all_columns(where, found, board):
    chosen = select(board, where=where)
    assert teachers(chosen) == found
    assert chosen.table.schema.equals(board.table.schema, check_metadata=True)


def test_searches_can_be_chosen_and_sorted(trials):
    def found(**how):
        return select(trials, **how).table["trial"].to_pylist()

    assert found() == [2, 1, 0, 3]
    assert found(sort="accuracy") == [2, 1, 0, 3]
    assert found(sort="-accuracy") == [0, 1, 2, 3]
    assert found(sort="weight", descending=True) == [2, 1, 0, 3]
    assert found(where="cost = 'learned' and rate < 1") == [2, 0, 3]
    assert "├" in printed(trials)
    assert "trial 3: NaN" in printed(trials)


@pytest.mark.parametrize("how", [{"sort": "num_clases"}, {"where": "num_clases < 3"}])
def test_an_unknown_column_is_answered_with_near_ones(how, board):
    with pytest.raises(UserError, match=r"unknown column 'num_clases': did you mean 'num_classes'"):
        select(board, **how)


@pytest.mark.parametrize(
    "where",
    [
        "",
        " ",
        "1=1; drop table x",
        "1=1) union all (select * from x",
        "true; install httpfs",
        "true; set enable_external_access = true",
        "license = 'mit",
        "num_classes <",
        "count(*) > 1",
        "foo(1)",
        "error('two\nlines')",
        "true \ud800",
    ],
)
def test_what_is_no_condition_is_told_in_one_line(where, board):
    with pytest.raises(UserError, match=r"--where .* is no condition on the columns") as caught:
        select(board, where=where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        "teacher in (select * from '{file}')",
        "(select count(*) from read_csv('{file}')) > 0",
        "(select content from read_text('{file}')) like '%secret%'",
        "(select count(*) from read_parquet('{board}')) > 0",
        "(select count(*) from glob('{folder}/*')) > 0",
        "exists (select * from board)",
        "exists (select * from columns)",
    ],
)
def test_a_condition_sees_nothing_but_the_columns(where, board, folder, tmp_path):
    file = tmp_path / "file.csv"
    file.write_text("a\nsecret\n")
    table = folder / "leaderboard.parquet"
    with pytest.raises(UserError, match="--where"):
        select(board, where=where.format(file=file, board=table, folder=tmp_path))


def test_without_duckdb_it_says_what_to_install(board, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **named):
        if name == "duckdb":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"needs DuckDB.*pip install 'rayxkd\[query\]'"):
        select(board, where="true")


@pytest.mark.parametrize("form", ["json", "csv", "markdown", "table"])
def test_every_format_shows_the_same_rows(form, folder, capsys):
    choice = ["--sort", "-size", "--where", "cost < 2.5", "--status", "ok", "--top", "2"]
    assert run_app(app, ["show", str(folder), *choice, "--format", form]) == 0
    out = capsys.readouterr().out
    if form == "json":
        assert [row["teacher"] for row in json.loads(out)] == ["a", "c"]
    else:
        lines = [line for line in out.splitlines() if "ok" in line]
        assert [re.search(r"\b[abcd]\b", line)[0] for line in lines] == ["a", "c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--descending"], "--descending needs a column: give --sort COLUMN too"),
        (["--watch", "--format", "csv"], "--watch draws a table"),
        (["--watch", "--every", "0"], "--every 0 is no time to wait"),
        (["--top", "-1"], "--top -1 is no number of rows"),
    ],
)
def test_what_makes_no_sense_is_told(arguments, message, folder, capsys):
    assert run_app(app, ["show", str(folder), *arguments]) == 1
    assert message in capsys.readouterr().err


# What people see


def test_at_200_columns_everything_is_there(board):
    text = printed(board)
    assert "left out" not in text
    for title in ("rank", "relative", "leep", "h_score", "classes", "size", "images/s", "status"):
        assert title in text.splitlines()[1]
    assert re.search(r"├─+●─+┤", line_of(text, "c"))
    assert max(map(cell_len, text.splitlines())) <= 200


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_what_has_no_room_is_left_out_and_named(width, board):
    text = printed(board, width)
    heading = next(n for n, line in enumerate(text.splitlines()) if line.startswith("rank"))
    lines = text.splitlines()[heading : heading + 7]
    assert max(map(cell_len, lines)) <= width
    assert [line.split()[0] for line in lines[1:5]] == list("1234")  # a line each
    assert "…" not in text
    said = " ".join(text.split())
    for title in ("relative", "leep", "h_score", "classes", "size", "images/s"):
        assert (title in lines[0]) != bool(re.search(rf"left out[^;]*\b{title}\b", said))
    assert ("●" in text) != ("cost bars" in said)


def test_the_width_that_is_said_to_show_all_does(board):
    needed = int(re.search(r"COLUMNS=(\d+) shows all", printed(board, 80))[1])
    assert "left out" not in printed(board, needed)
    assert "left out for want of room: cost bars;" in printed(board, needed - 1)


def test_bars_give_way_first_and_size_last(board):
    order = [
        re.search(r"left out for want of room: ([^;]*);", " ".join(printed(board, width).split()))
        for width in range(130, 45, -1)
    ]
    seen: list[str] = []
    for found in order:
        names = found[1].split(", ") if found else []
        assert set(seen) <= set(names)
        seen += [name for name in names if name not in seen]
    assert seen[:4] == ["cost bars", "h_score", "leep", "relative"]
    assert seen[4:7] == ["classes", "images/s", "size"]


def test_ties_are_bracketed_and_those_between_are_passed_by():
    assert bracket([True, False, True, True, False]) == ["┐", "│", "┤", "┘", " "]
    assert bracket([False, True]) == [" ", "="]
    assert bracket([True, True], ascii_only=True) == ["=", "="]
    assert bracket([]) == []


def test_bars_share_an_axis():
    axis = Axis.over([(1.0, 0.0, 2.0), (None, None, None), (4.0, math.nan, 4.0)], 9, False)
    assert axis.draw((1.0, 0.0, 2.0)) == "├─●─┤    "
    assert axis.draw((4.0, None, None)) == "        ●"
    assert axis.draw((math.nan, None, None)) == axis.draw((None, 0.0, 1.0)) == ""
    assert Axis(1.0, 1.0, 3).draw((1.0, 1.0, 1.0)) == " ● "
    assert Axis(0.0, 4.0, 9, ascii_only=True).draw((1.0, 0.0, 2.0)) == "|-o-|    "
    assert Axis(0.0, 4.0, 20).title == "0.000 ──────── 4.000"


def test_pareto_optimal_teachers_are_marked_where_they_are():
    def cells(text, name):
        return re.search(r"\S+( ◆|  ) +\S+( ◆|  )? +ok *$", line_of(text, name))

    rows = [
        assessment("a", cost=1.0, parameters=9_000, forward_seconds=10.0, **TIMED),
        assessment("b", cost=2.0, parameters=9_500, forward_seconds=5.0, **TIMED),
        assessment("c", cost=3.0, parameters=1_000, forward_seconds=7.0, **TIMED),
    ]
    text = printed(board_of(*rows))
    marks = {name: "".join(cells(text, name).groups("")).count("◆") for name in "abc"}
    small = {name: "◆" in cells(text, name).group(1) for name in "abc"}
    assert (marks, small) == ({"a": 2, "b": 1, "c": 1}, {"a": True, "b": False, "c": True})
    assert "◆ Pareto-optimal: every other teacher as small (size) or as fast (images/s)" in text


def board_of(*rows) -> Leaderboard:
    from rayxkd.leaderboard.ranking import ranked_table

    return Leaderboard.of("here", ranked_table(rows, SCHEMA))


def test_marks_do_not_depend_on_how_many_are_shown(board):
    """By size, `d` comes first and then what is beaten by nobody who is shown."""
    rows = [
        assessment("big", cost=1.0, parameters=8_000),
        assessment("beaten", cost=3.0, parameters=9_000),
        assessment("small", cost=2.0, parameters=1_000),
    ]
    dear = select(board_of(*rows), sort="-size")
    assert "◆" not in printed(dear, top=1)
    assert "the first 1 of 3 teachers" in printed(dear, top=1)
    assert "◆" in line_of(printed(dear, top=2), "big")


def test_a_long_table_shows_its_first_rows():
    many = board_of(*(assessment(f"t{place:03}", cost=1.0 + place) for place in range(502)))
    lines = printed(many).splitlines()
    assert "the first 500 of 502 teachers; --top 502 shows all" in lines
    assert sum(" t" in line for line in lines if " ok" in line) == 500
    assert "t501" in printed(many, top=502)


def test_no_failure_is_pareto_optimal(board):
    assert "◆" not in line_of(printed(board), "z-broken")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    points=st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan]),
            st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan, math.inf]),
        ),
        max_size=12,
    )
)
def test_the_front_is_that_of_brute_force(points):
    def beats(one, other):
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    known = [point for point in points if all(map(math.isfinite, point))]
    expected = [
        point in known and not any(beats(other, point) for other in known) for point in points
    ]
    assert pareto_front([x for x, _ in points], [y for _, y in points]).tolist() == expected


def test_an_empty_leaderboard_says_so():
    for width in (80, 200):
        lines = printed(board_of(), width).splitlines()
        assert lines[-2:] == ["teacher status", "no teachers"]


def test_only_failures_are_names_and_reasons(tmp_path):
    board = write(tmp_path, *ROWS[4:])
    invalid = printed(select(board, status="invalid"))
    assert invalid.endswith("z-broken: no weights\n")
    text = printed(write(tmp_path, assessment("x", reason="no card")))
    assert [line.rstrip() for line in text.splitlines()[1:]] == [
        "teacher status",
        "x       invalid",
        "x: no card",
    ]


def test_many_reasons_are_counted_not_listed():
    rows = [
        assessment(f"t{number:03}", status=Status.TIMEOUT, reason=f"took {number % 30} hours")
        for number in range(120)
    ]
    rows += [assessment(f"u{number}", reason="no card") for number in range(50)]
    reasons = printed(board_of(*rows)).splitlines()[2 + 170 :]
    assert len(reasons) == 11
    assert reasons[0] == "u0, u1, u10 and 47 more: no card"
    assert reasons[1] == "t000, t030, t060 and 1 more: took 0 hours"
    assert reasons[-1] == "and 84 more: see --status timeout, with --format csv for all"


# Whatever is in a name, and whatever can be shown

NAMES = ("\u202egnp.evil\u202c", "[bold]x[/bold]", "a\x1b[2Jb", "a\u2028b", "\u200fr", "ünï 🦜")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("width", [80, 200])
def test_names_obey_nobody(width, encoding):
    board = board_of(*(assessment(name, cost=1.0 + n) for n, name in enumerate(NAMES)))
    text = printed(board, width, encoding=encoding)
    assert not set(text) & set("\u202e\u202c\u2028\u200f\x1b")
    for shown in (r"\u202egnp.evil\u202c", "[bold]x[/bold]", r"a\x1b[2Jb", r"a\u2028b", r"\u200fr"):
        assert shown in text
    starts = {line.index("[", 24) for line in text.splitlines() if re.match(" +[1-6]", line)}
    assert len(starts) == 1 or encoding == "utf-8"  # wide characters count twice
    if encoding != "utf-8":
        assert text.isascii()
        assert "=" in text or "tied" not in text


def test_ascii_has_bars_brackets_and_signs(board):
    text = printed(board, encoding="ascii")
    assert text.isascii()
    assert "\\u" not in text
    assert re.search(r"\|-+o-+\|", text)
    assert re.search(r"1= a .*\n +2= b ", text)
    assert "* Pareto-optimal" in text


def run(*arguments, **environment):
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LANG")}
    return subprocess.run(
        [sys.executable, "-m", "rayxkd.leaderboard", "show", *map(str, arguments)],
        capture_output=True,
        timeout=60,
        check=False,
        env=plain | environment,
    )


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown"])
def test_output_that_knows_no_unicode_is_no_error(form, tmp_path):
    write(tmp_path, *(assessment(name, cost=1.0 + n) for n, name in enumerate(NAMES)))
    done = run(tmp_path, "--format", form, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (
        done.stdout.isascii()
        if form == "table"
        else "ünï".encode() in done.stdout or (form == "json")
    )


def on_a_terminal(command: list[str], act=None, **environment) -> tuple[int, str]:
    """Run it where it thinks that somebody is looking; `act` is given the process."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", **environment}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            text += block
            if act is not None and b"finished so far" in text:
                act(process)
                act = None
        process.wait(timeout=60)
    os.close(ours)
    return process.returncode, text.decode()


COMMAND = [sys.executable, "-m", "rayxkd.leaderboard", "show"]
COLOURED = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")


def test_colours_are_for_terminals_and_not_under_no_color(folder):
    code, text = on_a_terminal([*COMMAND, str(folder)], NO_COLOR="")
    assert code == 0
    assert COLOURED.search(text)
    code, text = on_a_terminal([*COMMAND, str(folder)], NO_COLOR="1")
    assert code == 0
    assert not COLOURED.search(text)
    assert "\x1b" not in run(folder).stdout.decode()


# Watching


@pytest.fixture
def running(tmp_path):
    """A scan that is at work, of which two teachers are finished."""
    journal = Journal(Storage.at(str(tmp_path)))
    with journal.lease(lambda _: None):
        journal.begin({"cost": "learned"})
        for row in ROWS[:2]:
            journal.write_part(row, SCHEMA)
        yield tmp_path


def finish(folder):
    journal = Journal(Storage.at(str(folder)))
    journal.write_part(ROWS[2], SCHEMA)
    journal.write_table(journal.read_parts(), SCHEMA)


def test_without_a_terminal_a_running_scan_is_printed_once(running):
    done = run(running, "--watch")
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line.split()[0] for line in done.stdout.decode().splitlines()[2:4]] == ["1", "2"]
    finish(running)
    assert " c " in run(running, "--watch").stdout.decode()


def test_parts_newer_than_the_table_are_shown(running):
    finish(running)
    journal = Journal(Storage.at(str(running)))
    journal.write_part(ROWS[3], SCHEMA)
    table = running / "leaderboard.parquet"
    os.utime(table, (time.time() - 60, time.time() - 60))
    assert " d " in run(running, "--watch").stdout.decode()


def test_before_the_first_teacher_it_waits(tmp_path, capsys):
    Journal(Storage.at(str(tmp_path))).begin({"cost": "learned"})
    assert run_app(app, ["show", str(tmp_path), "--watch"]) == 0
    assert "no teacher is finished yet" in " ".join(capsys.readouterr().out.split())
    assert run_app(app, ["show", str(tmp_path / "nothing"), "--watch"]) == 1
    assert "there is no leaderboard at" in capsys.readouterr().err


def test_it_redraws_until_the_table_is_written(running):
    command = [*COMMAND, str(running), "--watch", "--every", "0.2"]
    code, text = on_a_terminal(command, lambda _: finish(running))
    assert code == 0
    assert "2 finished so far; Ctrl-C ends watching" in text
    last = COLOUR.sub("", text).rsplit("photos/", 1)[-1]
    assert re.search(r"3 +c ", last)
    assert "so far" not in last


def test_ctrl_c_ends_watching_and_leaves_the_table(running):
    command = [*COMMAND, str(running), "--watch", "--every", "60"]
    code, text = on_a_terminal(command, lambda process: process.send_signal(signal.SIGINT))
    assert code == 0
    assert "Traceback" not in text
    assert "error" not in text
    assert re.search(r"2 ┘ b ", COLOUR.sub("", text).rsplit("photos/", 1)[-1])


def test_a_scan_that_was_killed_is_not_waited_for(running):
    note = json.loads((running / "running.json").read_text())
    command = [*COMMAND, str(running), "--watch", "--every", "0.2"]

    def kill(_):
        # A process of that number that began at another time is not the one that scanned.
        killed = json.dumps(note | {"started": note["started"] - 60})
        (running / "running.json").write_text(killed)

    code, text = on_a_terminal(command, kill)
    assert code == 0
    assert "The scan was stopped or killed" in COLOUR.sub("", text)
    (running / "running.json").unlink()
    assert "give its command again" in run(running, "--watch").stdout.decode()


def test_a_search_or_a_finished_scan_is_not_waited_for(trials, folder):
    for url in (trials.url, folder):
        console = Console(file=io.StringIO(), force_terminal=True, width=200)
        watch(str(url), console, select, every=60.0)
        assert "status" in console.file.getvalue()


# Many rows


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown"])
def test_a_hundred_thousand_rows_are_no_trouble(form, tmp_path):
    from rayxkd.leaderboard.ranking import ranked_table

    when = ROWS[0].finished_at
    rows = [
        assessment(
            f"t{number}",
            cost=1.0 + number % 997,
            parameters=number,
            finished_at=when + timedelta(seconds=number),
        )
        for number in range(100_000)
    ]
    board = Leaderboard.of("here", ranked_table(rows, SCHEMA))
    begun = time.process_time()
    if form == "table":
        printed(select(board, sort="size", where="leep < -5"), top=20)
    else:
        render(board, form)
    assert time.process_time() - begun < 5
