"""The report of a leaderboard: what it says, that it is safe, and how a browser shows it."""

from __future__ import annotations

import html
import io
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy.stats import spearmanr

from rayxkd.assess import AssessSettings, assess
from rayxkd.cli import app as whole_app
from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.leaderboard.report import report_html
from rayxkd.leaderboard.report.agreement import Agreement
from rayxkd.leaderboard.report.flow import OTHERS, Flow
from rayxkd.leaderboard.report.heat import HeatMap
from rayxkd.leaderboard.report.labels import Box, placed
from rayxkd.leaderboard.report.standing import Standing
from rayxkd.leaderboard.report.text import duration_of, elided, share_of, size_of, thousands
from rayxkd.leaderboard.schema import parquet_of
from rayxkd.page import digest_of
from rayxkd.status import Status
from rayxkd.storage import Storage
from tests.conftest import DIGIT_TEACHERS
from tests.leaderboard.builders import SCHEMA
from tests.leaderboard.explained import CLASSES, evidence, explained_board, probe
from tests.leaderboard.written import NASTY_NAMES, row, write_board, write_search
from tests.pages import SCRIPT, Outline, chromium, faults, opened

SIZES = (3_500_000, 470_000, 1_300_000)


def page(board: Leaderboard) -> Outline:
    return Outline(report_html(board).decode())


def jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (112, 84), (value, 90, 120)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """Three teachers with evidence and pictures, a class that is a script, and one that failed."""
    found = explained_board(tmp_path_factory.mktemp("report") / "board")
    assert found.storage is not None
    EvidenceStore(found.storage).write_pictures(probe(tuple(map(jpeg, range(0, 240, 40)))))
    return Leaderboard.open(found.url)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """Names that are markup or orders; sizes and speeds that differ; pictures and evidence."""
    folder = tmp_path_factory.mktemp("hostile") / "board"
    rows = [
        row(
            name,
            0.5 + place / 10,
            parameters=int(10**place) * 1_000,
            images_seen=512,
            forward_seconds=9.0 - place,
            license=f"<b>licence {place}</b>",
            metrics={"leep": -1 / (place + 1), "h_score": place % 3},
        )
        for place, name in enumerate((SCRIPT, *NASTY_NAMES))
    ]
    broken = row("zoo/bad", reason=f"its card says {SCRIPT} \x1b[31m s3://me:secret@bucket/x")
    settings = {"probe": "s3://me:secret@bucket/x", "cost": "learned", "metrics": ["leep"]}
    address = write_board(folder, *rows, broken, settings=settings, class_names=list(CLASSES))
    store = EvidenceStore(Storage.at(address))
    store.write_pictures(probe(tuple(map(jpeg, range(0, 240, 40)))))
    costs_N = np.array([0.1, 0.2, 0.3, 0.6, 0.2, 0.1])
    for one in rows:
        store.write(evidence(one, costs_N))
    return Leaderboard.open(address)


# What it says


def test_the_summary_says_whom_to_take_and_how_sure_that_is(board: Leaderboard) -> None:
    text = page(board).text
    assert "4 pretrained classifiers, asked about 512 images of 2 classes" in text
    assert "Take zoo/best." in text
    assert "costs 0.250 nats an image, the least of 3 teachers" in text
    assert "Guessing one of the 2 classes would cost 0.693" in text
    assert "The intervals of zoo/even and zoo/odd overlap its own" in text
    assert "almost surely first: in 100 %" in text
    assert "1 teacher has no rank: invalid." in text
    assert "its card says no" in text


def test_a_smaller_tied_teacher_is_named(tmp_path: Path) -> None:
    rows = [
        row(f"zoo/t{place}", 0.5 + place / 100, parameters=size) for place, size in enumerate(SIZES)
    ]
    text = page(Leaderboard.open(write_board(tmp_path / "b", *rows))).text
    assert "Take zoo/t0, or one of the 2 that are tied with it." in text
    assert "Where size matters, zoo/t1 is 7.4 times smaller and costs 0.010 more." in text


def test_a_clear_leader_and_one_that_knows_nothing(tmp_path: Path) -> None:
    clear = write_board(tmp_path / "a", row("zoo/a", 0.1), row("zoo/b", 0.6))
    assert "interval overlaps its own: it leads clearly" in page(Leaderboard.open(clear)).text
    useless = write_board(tmp_path / "b", row("zoo/a", 0.69, relative_cost=0.99))
    text = page(Leaderboard.open(useless)).text
    assert "hardly better than guessing: none of these teachers knows much of this task" in text
    assert "It is the only one with a rank." in text


def test_the_heat_map_holds_the_shares_of_the_evidence(board: Leaderboard) -> None:
    one = evidence(row("zoo/best", 0.25), np.ones(6))
    heat = HeatMap.of(one, CLASSES, [0, 1])
    total_M = one.map_SM.sum(axis=0) + one.rest_M
    assert [line.name for line in heat.rows] == list(one.source_names)
    for line, map_M in zip(heat.rows, one.map_SM, strict=True):
        assert np.allclose([cell.share for cell in line.cells], map_M / total_M)
        assert np.allclose([cell.lift for cell in line.cells], map_M / (map_M.sum() * total_M))
    assert np.allclose(heat.rest_M, one.rest_M / total_M)
    columns = [sum(line.cells[place].share for line in heat.rows) for place in (0, 1)]
    assert np.allclose(np.add(columns, heat.rest_M), 1)
    second = HeatMap.of(one, CLASSES, [1])
    assert [line.cells[0].share for line in second.rows] == pytest.approx([0.4, 0.1])
    # Temperature, lift and all: the caption of the page says what the cells are.
    assert "Every column adds up to 100 %." in page(board).text


def test_flow_loses_no_mass() -> None:
    generator = np.random.default_rng(0)
    map_SM = generator.dirichlet(np.full(7, 0.3), 40).astype(np.float32)
    rest_M = generator.random(7).astype(np.float32)
    total = float(map_SM.sum() + rest_M.sum())
    one = evidence(
        row("zoo/a", 1.0),
        np.ones(6),
        source_S=np.arange(40, dtype=np.int32),
        source_names=tuple(f"class {place}" for place in range(40)),
        map_SM=map_SM / total,
        cost_SM=map_SM,
        rest_M=rest_M / total,
    )
    names = tuple("abcdefg")
    flow = Flow.of(one, names, range(7))
    assert flow.sources[-1].name == OTHERS
    for node, mass in zip(flow.targets, one.target_mass_M, strict=True):
        assert node.share == pytest.approx(mass, abs=1e-6)
        moved = sum(link.share for link in flow.links if link.target == node.name)
        assert moved == pytest.approx(mass, abs=0.01)
    assert sum(node.share for node in flow.sources) == pytest.approx(1)
    for column in (flow.sources, flow.targets):
        for above, below in pairwise(column):
            assert below.middle - above.middle >= 17  # the height of a line
            assert below.y >= above.y + above.height
        assert column[-1].y + column[-1].height <= flow.height


def test_labels_cover_neither_each_other_nor_points() -> None:
    generator = np.random.default_rng(0)
    bounds = Box(0, 0, 400, 300)
    wanted = [
        ("x" * int(length), float(x), float(y))
        for length, x, y in zip(
            generator.integers(3, 30, 60),
            generator.uniform(20, 380, 60),
            generator.uniform(10, 290, 60),
            strict=True,
        )
    ]
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for _, x, y in wanted]
    labels = placed(wanted, marks, bounds)
    assert 5 < len(labels) < 60
    boxes = []
    for label in labels:
        width = 5.9 * len(label.text)
        left = label.x - width if label.is_left else label.x
        boxes.append(Box(left, label.y - 6.5, left + width, label.y + 6.5))
    assert all(bounds.holds(box) for box in boxes)
    assert not any(one.meets(other) for one, other in combinations(boxes, 2))
    assert not any(box.meets(mark) for box in boxes for mark in marks)


def test_agreement_is_spearmans_and_turned_so_that_more_is_better(hostile: Leaderboard) -> None:
    found = Agreement.of(Standing(hostile, 100))
    assert found is not None
    columns = hostile.table.to_pydict()
    good = [place for place, status in enumerate(columns["status"]) if status == "ok"]
    scores = {
        "transport cost": [-columns["transport_cost"][place] for place in good],
        "relative cost": [-columns["relative_cost"][place] for place in good],
        "leep": [columns["leep"][place] for place in good],
        "h_score": [columns["h_score"][place] for place in good],  # with equal values
    }
    assert found.names == tuple(scores)
    for one, name in enumerate(scores):
        for other, another in enumerate(scores):
            expected = spearmanr(scores[name], scores[another]).statistic
            assert found.correlation_RR[one, other] == pytest.approx(expected)
    assert [choice.rank for choice in found.choices] == [9, 3]


def test_numbers_are_written_shortly() -> None:
    assert [thousands(value) for value in (999, 3_504_872, 468_000, None)] == [
        *("999", "3.5M", "468k", "")
    ]
    assert [share_of(value) for value in (0.0, 0.0004, 0.034, 0.4, 0.9996, 1.0)] == [
        *("0 %", "< 0.1 %", "3.4 %", "40 %", "> 99 %", "100 %")
    ]
    assert [duration_of(value) for value in (0.25, 61, 3600, 7_500)] == [
        *("0.25 s", "1 min 1 s", "1 h", "2 h 5 min")
    ]
    assert size_of(31_400_000) == "31.4 MB"
    assert elided("a" * 40 + "b" * 10, 20) == "a" * 12 + "…" + "b" * 7


def test_the_command_gives_the_scan_again(tmp_path: Path) -> None:
    settings = {
        "probe": "task of mine",
        "probe-size": 100,
        "cost": "cooccurrence",
        "temperature": 4.0,
        "class-vectors": None,
        "reference": "labels",
        "metrics": ["knn", "leep"],
        "seed": 3,
    }
    rows = [row("a", 1.0, repository="zoo's"), row("b", 2.0, repository="s3://hub/x")]
    address = write_board(tmp_path / "b", *rows, settings=settings)
    text = report_html(Leaderboard.open(address)).decode()
    shown = re.search(r'aria-label="Command">(.*?)</pre>', text, re.DOTALL)
    assert shown is not None
    command = html.unescape(shown[1]).replace("\\\n", "")
    python, script, *arguments = shlex.split(command)
    assert (python, script) == ("python", "jobs/assess.py")
    _, bound, _ = whole_app.parse_args(
        ["assess", *arguments], exit_on_error=False, print_error=False
    )
    asked = bound.arguments["settings"]
    assert set(asked.repository) == {"zoo's", "s3://hub/x"}
    assert (asked.probe, asked.probe_size, asked.seed) == ("task of mine", 100, 3)
    assert (asked.cost, asked.temperature) == ("cooccurrence", 4.0)
    assert (asked.metrics, asked.out) == (("knn", "leep"), str(tmp_path / "b"))


def test_boards_with_nothing_to_show(tmp_path: Path) -> None:
    empty = page(Leaderboard.open(write_board(tmp_path / "empty")))
    assert "This leaderboard is empty" in empty.text
    failed = write_board(
        tmp_path / "failed",
        row("zoo/a"),
        row("zoo/b"),
        row("zoo/c", status=Status.OUT_OF_MEMORY, reason="needs 80 GB"),
    )
    text = page(Leaderboard.open(failed)).text
    assert "No teacher could be assessed: all 3 failed." in text
    assert re.search(r"invalid *2 *its card has no num_classes *zoo/a, zoo/b", text)
    assert re.search(r"out of memory *1 *needs 80 GB *zoo/c", text)


def test_without_evidence_it_says_how_to_get_it(tmp_path: Path) -> None:
    old = page(Leaderboard.open(write_board(tmp_path / "old", row("zoo/a", 1.0))))
    assert "nothing is kept that explains this rank" in old.text
    assert "assess again with --fresh" in old.text
    assert not old.all("img")


def test_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="report works on leaderboards of teachers"):
        report_html(Leaderboard.open(write_search(tmp_path / "search")))


@pytest.mark.slow
def test_a_scan_has_all_that_the_report_shows(trained_digits: Path, tmp_path: Path) -> None:
    repository, out = str(trained_digits), str(tmp_path / "board")
    assess(AssessSettings(repository=(repository,), out=out, workers=0, metrics=("leep", "knn")))
    board = Leaderboard.open(out)
    outline = page(board)
    assert "nothing is kept" not in outline.text
    captions = re.findall(r"Transport map: of what", outline.text)
    assert len(captions) == board.table.num_rows == len(DIGIT_TEACHERS)
    pictures = {one["src"] for one in outline.all("img")}
    assert len(pictures) > 5
    assert all((one or "").startswith("data:image/jpeg;base64,/9j/") for one in pictures)
    assert f"--repository {repository}" in outline.text
    assert "Rank correlation between scores, over 4 teachers" in outline.text


# Many rows


def large(rows: int, failed: int) -> pa.Table:
    """So many teachers, the last of which failed for many reasons."""
    generator, ok = np.random.default_rng(0), rows - failed
    cost_T = np.sort(generator.gamma(6, 0.2, ok))
    size_T = 10 ** generator.uniform(4.5, 8.5, ok)
    known = {
        "rank": np.arange(1, ok + 1, dtype=np.int32),
        "transport_cost": cost_T,
        "transport_cost_low": cost_T - 0.05,
        "transport_cost_high": cost_T + 0.05,
        "relative_cost": cost_T / 3,
        "tied": cost_T < cost_T[0] + 0.1,
        "leep": -cost_T + generator.normal(size=ok),
        "parameters": size_T.astype(np.int64),
        "images_seen": np.full(ok, 512),
        "forward_seconds": size_T / 1e6,
    }
    always = {
        "teacher": [f"hub/owner{place % 997}/model-{place}" for place in range(rows)],
        "status": ["ok"] * ok + ["invalid", "timeout"] * (failed // 2),
        "reason": [""] * ok + [f"{place % 50_000} bytes are missing" for place in range(failed)],
        "attempts": [1] * rows,
        **{name: [name] * rows for name in ("repository", "probe_digest", "config_digest")},
    }
    columns = [
        pa.array(always[field.name], field.type)
        if field.name in always
        else pa.concat_arrays(
            [
                pa.array(known[field.name]).cast(field.type)
                if field.name in known
                else pa.nulls(ok, field.type),
                pa.nulls(failed, field.type),
            ]
        )
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def test_a_hundred_thousand_rows_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "leaderboard.parquet").write_bytes(parquet_of(large(100_000, 20_000)))
    content = report_html(Leaderboard.open(str(tmp_path)))
    assert len(content) < 3_000_000
    outline = Outline(content.decode())
    text = outline.text
    assert "The first 1,000 of 80,000 teachers" in text
    assert "Only the first 1,000 are listed" in text
    assert "Costs of all 80,000 teachers" in text
    assert "Cost and size of 80,000 teachers, counted in tiles" in text
    assert "20,000 teachers have no rank: 10,000 invalid and 10,000 timeout" in text
    assert "below stand the 20 most frequent reasons, and 19,980 teachers with 19,980" in text
    counted = [
        int(found.replace(",", ""))
        for found in re.findall(r" to [\d.]+</th><td>([\d,]+)</td>", content.decode())
    ]
    assert sum(counted) == 80_000
    assert len([one for one in outline.all("tr") if "data-teacher" in one]) == 1_000


# It is safe


def test_text_of_others_is_text(hostile: Leaderboard) -> None:
    content = report_html(hostile).decode()
    outline = Outline(content)
    assert len(outline.all("script")) == 1
    assert "alert" not in outline.scripts[0]
    assert not [name for _, found in outline.found for name in found if name.startswith("on")]
    assert all(
        (one["src"] or "").startswith("data:image/jpeg;base64,") for one in outline.all("img")
    )
    for name in (SCRIPT, *NASTY_NAMES[:-2], "zoo/two lines and\\x1b[31mred", f"says {SCRIPT}"):
        assert name in outline.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", content)
    assert "secret" not in content
    assert "s3://***@bucket/x" in content


def test_the_policy_allows_this_script_and_no_network(board: Leaderboard) -> None:
    outline = page(board)
    policies = [one for one in outline.all("meta") if one.get("http-equiv")]
    assert len(policies) == 1
    policy = policies[0]["content"] or ""
    assert "default-src 'none'" in policy
    assert f"script-src '{digest_of(outline.scripts[0])}';" in policy
    assert "connect-src" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    written = report_html(board).decode()
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", written)
    assert "url(" not in written
    assert "@import" not in written


def test_structure_serves_screen_readers(board: Leaderboard) -> None:
    outline = page(board)
    levels = [int(tag[1]) for tag, _ in outline.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [found["id"] for _, found in outline.found if "id" in found]
    assert len(ids) == len(set(ids))
    for _, found in outline.found:
        for name in ("aria-labelledby", "for"):
            for reference in (found.get(name) or "").split():
                assert reference in ids
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all("scope" in found for found in outline.all("th"))
    assert all("alt" in found for found in outline.all("img"))
    for picture in outline.all("svg"):
        assert picture.get("aria-hidden") or (picture["role"] == "img" and picture["aria-label"])
    for link in outline.all("a"):
        assert (link["href"] or "").removeprefix("#") in ids


def test_the_command_writes_one_file_and_replaces_nothing(
    board: Leaderboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "report.html"
    assert run_app(app, ["report", board.url, "--out", str(target)]) == 0
    assert target.read_bytes() == report_html(board)
    assert f"report: {target}" in capsys.readouterr().out
    assert run_app(app, ["report", board.url, "--out", str(target)]) == 1
    assert "replace it with --overwrite" in capsys.readouterr().err
    target.write_text("old")
    assert run_app(app, ["report", board.url, "--out", str(target), "--overwrite"]) == 0
    assert target.stat().st_size > 10_000
    assert run_app(app, ["report", str(tmp_path), "--out", str(tmp_path / "x.html")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def saved(hostile: Leaderboard, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("saved") / "report.html"
    file.write_bytes(report_html(hostile))
    return file.as_uri()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_quietly(browser: Any, saved: str, width: int, scheme: str) -> None:
    size = {"width": width, "height": 844}
    shown, seen = opened(browser, saved, viewport=size, color_scheme=scheme)
    assert seen == []
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) > 600) == (scheme == "light")
    assert shown.get_by_text(SCRIPT, exact=True).first.is_visible()
    shown.close()


def ranks(shown: Any) -> list[str]:
    rows = shown.locator(".ranking tbody tr:visible td.rank")
    return [text.rstrip("=") for text in rows.all_inner_texts()]


def test_tables_are_sorted_by_click_and_by_keyboard(browser: Any, saved: str) -> None:
    shown, seen = opened(browser, saved)
    usual = [str(rank) for rank in range(1, 10)]
    assert ranks(shown) == usual
    table = shown.locator(".ranking")
    heading = table.get_by_role("columnheader", name="size")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert table.locator("[aria-sort]").count() == 1
    assert ranks(shown) == usual  # sizes grow with the rank
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert ranks(shown) == usual[::-1]
    # Higher is better there: the better end comes first.
    score = table.get_by_role("columnheader", name="h_score")
    score.get_by_role("button").press("Space")
    assert score.get_attribute("aria-sort") == "descending"
    assert set(ranks(shown)[:3]) == {"3", "6", "9"}
    name = table.get_by_role("columnheader", name="teacher")
    name.get_by_role("button").click()
    assert seen == []
    texts = table.locator("tbody th").all_inner_texts()
    collated = shown.evaluate(
        "names => [...names].sort(new Intl.Collator(undefined,"
        " {numeric: true, sensitivity: 'base'}).compare)",
        texts,
    )
    assert texts == collated
    shown.close()


def test_the_filter_hides_rows_and_tells_how_many_are_left(browser: Any, saved: str) -> None:
    shown, seen = opened(browser, saved)
    shown.get_by_label("Show only").fill("script ALERT")
    assert ranks(shown) == ["1", "2"]
    assert shown.locator("#filtered").inner_text() == "2 of 9"
    assert shown.locator("circle.dim").count() == 2 * 7
    shown.get_by_label("Show only").fill("licence 4")
    assert ranks(shown) == ["5"]
    shown.get_by_label("Show only").fill("")
    assert len(ranks(shown)) == 9
    assert seen == []
    shown.close()


def test_a_teacher_is_lit_wherever_it_stands(browser: Any, saved: str) -> None:
    shown, _ = opened(browser, saved)
    shown.locator(".ranking tbody tr").nth(2).hover()
    assert shown.locator("circle.lit").count() == 2
    assert {one.get_attribute("data-teacher") for one in shown.locator("circle.lit").all()} == {"2"}
    shown.close()


def test_a_name_leads_to_its_close_up(browser: Any, saved: str) -> None:
    shown, _ = opened(browser, saved)
    shown.locator(".ranking tbody a").nth(1).click()
    assert shown.locator("#closeup-2").is_visible()
    assert not shown.locator("#closeup-1").is_visible()
    shown.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_the_heat_map_on_the_page(browser: Any, saved: str, scripts: bool) -> None:
    shown, _ = opened(browser, saved, java_script_enabled=scripts)
    one = evidence(row("zoo/a", 1.0), np.ones(6))
    share_SM = one.map_SM / one.target_mass_M
    table = shown.get_by_role("table", name="Transport map").first
    lines = table.locator("tbody tr")
    assert lines.locator("th").all_inner_texts() == [
        *("ox-eye daisy, moon daisy", "<b>bee</b> \\x1b[31m", "all other classes")
    ]
    cells = [line.locator("td").all_inner_texts() for line in lines.all()]
    expected = [*share_SM, 1 - share_SM.sum(axis=0)]
    assert [[float(cell) for cell in line] for line in cells] == [
        pytest.approx((100 * line).tolist(), abs=0.5) for line in expected
    ]
    shown.close()


def test_it_reads_without_scripts(browser: Any, saved: str) -> None:
    shown, _ = opened(browser, saved, java_script_enabled=False)
    assert not shown.locator(".filter").is_visible()
    assert not shown.locator("thead button").count()
    assert ranks(shown) == [str(rank) for rank in range(1, 10)]
    assert shown.locator("#closeup-1").is_visible()
    choices = shown.get_by_role("radio")
    assert choices.count() == 5
    choices.first.focus()
    shown.keyboard.press("ArrowDown")
    assert shown.locator("#closeup-2").is_visible()
    assert not shown.locator("#closeup-1").is_visible()
    shown.close()


@pytest.mark.parametrize(
    "how",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 844}},
    ],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_no_fault(browser: Any, saved: str, how: dict[str, Any]) -> None:
    assert faults(browser, saved, **how) == []


def test_printed_it_shows_every_leading_teacher(browser: Any, saved: str) -> None:
    shown, _ = opened(browser, saved)
    shown.emulate_media(media="print")
    assert all(one.is_visible() for one in shown.locator(".closeup").all())
    assert not shown.locator(".filter").is_visible()
    shown.close()


def test_about_is_json_that_can_be_read(hostile: Leaderboard) -> None:
    outline = page(replace(hostile, about={**hostile.about, "extra": SCRIPT}))
    noted = "".join(outline.words)
    start = noted.index('"schema_version"')
    text = noted[noted.rindex("{", 0, start) :]
    found, _ = json.JSONDecoder().raw_decode(text)
    assert found["extra"] == SCRIPT
    assert found["settings"]["probe"] == "s3://***@bucket/x"
