"""The report of a study: what it says, that it is safe, and that a browser shows it rightly."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayxkd.page import MINUS, Axis
from rayxkd.study import StudySettings
from rayxkd.study.analysis import analyse
from rayxkd.study.commands import app
from rayxkd.study.figures import Kinship
from rayxkd.study.interview import TEACHERS
from rayxkd.study.rankers import DEFAULT_RANKER, rankers
from rayxkd.study.report import command_line, report_html
from rayxkd.study.results import Results
from rayxkd.study.run import StudyReport
from rayxkd.study.scores import SCORES
from rayxkd.study.truth import PROBE, STUDENT, TRUTH
from tests.pages import HOSTILE, IMAGE, SCRIPT, Outline, chromium, faults, opened

TASKS = ("fruit", "trees", "people", "ships", "birds", "tools", "chosen")
SETTINGS = StudySettings(repository=("zoo",), data=("a",), test=("b",), chosen_on=("chosen",))
# How far scores are from the truth.
NOISE = {DEFAULT_RANKER: 0.0, "logme": 0.6, "leep": 1.0, "parameters": 2.0, "linear_probe": 0.3}
CONTROL = "learned, rows permuted"


def invented(
    teachers: Sequence[str] = tuple("abcdefgh"),
    tasks: Sequence[str] = TASKS,
    noise: dict[str, float] | None = None,
    class_name: str = "plum",
) -> Results:
    """A study that nobody made: 3 draws, students on the first 6 tasks."""
    generator = np.random.default_rng(0)
    scores, truth = [], []
    for number, task in enumerate(tasks):
        worth_T = generator.normal(size=len(teachers))
        for teacher, worth in zip(teachers, worth_T, strict=True):
            key = {"teacher": teacher, "task": task, "images": 500, "seconds": 1.0}
            truth.append(key | {"kind": PROBE, "seed": 0, "accuracy": 0.5 + 0.1 * worth})
            for seed in range(3 if number < 6 else 0):
                accuracy = 0.4 + 0.1 * worth + 0.01 * generator.normal()
                truth.append(key | {"kind": STUDENT, "seed": seed, "accuracy": accuracy})
        for ranker, spread in {**(noise or NOISE), CONTROL: 1e6}.items():
            sign = 1 if rankers()[ranker].higher_is_better else -1
            for seed in range(3):
                score_T = sign * (worth_T + spread * generator.normal(size=len(teachers)))
                scores += [
                    {"teacher": teacher, "task": task, "seed": seed, "ranker": ranker}
                    | {"score": score, "seconds": 0.1, "probe_images": 50}
                    for teacher, score in zip(teachers, score_T, strict=True)
                ]
    asked = [
        {"teacher": name, "status": "ok", "digest": "d", "class_names": [class_name, "fig"]}
        | {"num_classes": 2, "parameters": 1234, "own_accuracy": 0.8, "views": 100}
        | {"forward_seconds": 2.0}
        for name in teachers
    ]
    asked.append({"teacher": "broken", "status": "invalid", "reason": f"it ends early {SCRIPT}"})
    return Results(
        pa.Table.from_pylist(asked, schema=TEACHERS),
        pa.Table.from_pylist(scores, schema=SCORES),
        pa.Table.from_pylist(truth, schema=TRUTH),
    )


def page(results: Results, chosen: Sequence[str] = ("chosen",), **about: Any) -> str:
    return report_html(analyse(results, chosen), results, asdict(SETTINGS) | about).decode()


@pytest.fixture(scope="module")
def usual() -> str:
    return page(invented())


def test_a_study_writes_its_report(finished: tuple[Path, StudyReport]) -> None:
    out, report = finished
    written = (out / "report.html").read_text(encoding="utf-8")
    text = Outline(written).text
    for teacher in report.results.teachers["teacher"].to_pylist():
        assert teacher in text
    assert f"served for no choice (first), the default score, {DEFAULT_RANKER}, ranks 4" in text
    assert "Tasks that served for choosing (second) are shown apart" in text
    assert "With 1 task p cannot fall below 1.00" in text
    assert "No control was part of this study." in text
    assert '"labelled": 10' in written.replace("&#34;", '"')
    assert "--labelled 10" in text


def test_the_same_study_gives_the_same_page(usual: str) -> None:
    assert page(invented()) == usual


def test_the_summary_says_who_is_first(usual: str) -> None:
    text = Outline(usual).text
    assert (
        "On 6 tasks that served for no choice (fruit, trees, people, ships, birds, tools)" in text
    )
    assert "ranks 8 teachers with a weighted τ of 1.00 [1.00, 1.00]" in text
    assert "No other score that needs no training is above it. The next is logme" in text
    assert "(p = 0.031): chance hardly gives such a difference." in text
    assert re.search(r"Noise in the truth would keep even a perfect score at about 0\.\d\d", text)
    assert re.search(
        rf"The control, which should find nothing, gives \S+ \[.*\] \({CONTROL}\)", text
    )


def test_the_summary_says_who_is_better() -> None:
    noise = {DEFAULT_RANKER: 2.0, "logme": 0.0, "leep": 0.1, "parameters": 9.0, "linear_probe": 0.0}
    text = Outline(page(invented(noise=noise))).text
    # The probe is trained for each teacher: it is no rival, but the best on average is.
    assert "2 of the 4 other scores that need no training are above it, the first being " in text
    assert "The leads of logme and leep are more than chance gives." in text


def test_without_tasks_set_apart_nothing_is_proved() -> None:
    results = invented()
    text = Outline(page(results, chosen=TASKS)).text
    assert "flatters whatever was chosen by it, and so proves nothing" in text
    assert "served for no choice" not in text


def test_without_truth_there_is_a_page_all_the_same() -> None:
    results = invented()
    text = Outline(report_html([], results, {}).decode()).text
    assert "No score could be compared with any truth" in text
    assert "it ends early" in text


def test_without_the_default_nothing_is_said_of_it() -> None:
    text = Outline(page(invented(noise={"logme": 0.1, "leep": 1.0}))).text
    assert "The default score was not part of this study." in text
    assert "The best rival that is no transport: logme" in text


def test_one_score_of_two_teachers() -> None:
    text = Outline(page(invented(teachers=("a", "b"), tasks=("fruit",), noise={"leep": 0.0}))).text
    assert "Linear probe accuracy, 1 task not used for choosing" in text


def test_infinite_scores_are_shown_at_the_edge() -> None:
    results = invented()
    scores = results.scores.to_pylist()
    for row in scores:
        if row["ranker"] == "logme" and row["teacher"] == "a":
            row["score"] = float("-inf")
    results = Results(results.teachers, pa.Table.from_pylist(scores, schema=SCORES), results.truth)
    written = page(results)
    assert not re.search(r'"(?:[^"]*[ ML,])?(?:nan|-?inf)\b', written)


def test_text_of_others_is_text() -> None:
    results = invented(teachers=HOSTILE, tasks=(SCRIPT, IMAGE, "ships"), class_name=SCRIPT)
    written = page(results, repository=(SCRIPT, "s3://name:secret@bucket/zoo"), names=("\udcff",))
    outline = Outline(written)
    assert not outline.all("script", "img")
    assert not [name for _, found in outline.found for name in found if name.startswith("on")]
    for name in (SCRIPT, IMAGE, "a\\x1b[31mb\\x00c", "d\\u202ee", "{{ 7 * 7 }}", "&amp;"):
        assert name in outline.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", written)
    assert "secret" not in written
    assert "s3://***@bucket/zoo" in written


def test_structure_serves_screen_readers(usual: str) -> None:
    outline = Outline(usual)
    levels = [int(tag[1]) for tag, _ in outline.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [found["id"] for _, found in outline.found if "id" in found]
    assert len(ids) == len(set(ids))
    for _, found in outline.found:
        for reference in (found.get("aria-labelledby") or "").split():
            assert reference in ids
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all("scope" in found for found in outline.all("th"))
    for picture in outline.all("svg"):
        assert picture.get("aria-hidden") or (picture["role"] == "img" and picture["aria-label"])
    for box in outline.all("div"):
        if box.get("class") == "scroll":
            assert box["tabindex"] == "0"


def test_nothing_is_fetched(usual: str) -> None:
    assert "default-src 'none'" in usual
    assert not re.search(r"(?:src|href)=\"(?!#|data:,)", usual)
    assert "url(" not in usual
    assert "@import" not in usual


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"names": ("it's one",), "metrics": ("learned", "learned, relative"), "students_on": ()},
        {"trust_code": True, "weight": 2.5, "seeds": 2, "chosen_on": ()},
    ],
)
def test_the_command_gives_the_settings_back(changes: dict[str, Any]) -> None:
    training = replace(SETTINGS.training, amp=False, epochs=2)
    settings = replace(SETTINGS, training=training, **changes)
    about = json.loads(json.dumps(asdict(settings)))
    program, command, *arguments = shlex.split(command_line(about).replace("\\\n", ""))
    assert (program, command) == ("rayxkd", "study")
    _, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert bound.arguments["settings"] == settings


def test_ticks_are_round_and_lie_on_the_axis() -> None:
    axis = Axis.around([0.113, 0.387], 0, 100)
    ticks = axis.ticks(4)
    assert [tick.label for tick in ticks] == ["0.1", "0.2", "0.3", "0.4"]
    assert all(0 <= tick.place <= 100 for tick in ticks)
    assert [tick.label for tick in Axis(-3, 3, 0, 9).ticks(4)] == [f"{MINUS}2", "0", "2"]
    assert len(Axis.around([7, 7], 0, 100).ticks(4)) > 1
    budgets = Axis(1, 100, 0, 80, is_logarithmic=True)
    assert [budgets.at(k) for k in (1, 10, 100)] == [0, 40, 80]


def test_kinship_puts_like_to_like() -> None:
    found = Kinship.of(analyse(invented(), ("chosen",))[0])
    names = [ranker.name for ranker in found.rankers]
    assert sorted(names) == sorted([*NOISE, CONTROL, "best on average"])
    assert np.allclose(found.correlation_RR, found.correlation_RR.T)
    assert np.allclose(np.diag(found.correlation_RR), 1)
    assert abs(names.index(DEFAULT_RANKER) - names.index("linear_probe")) == 1


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(page(invented(teachers=(*HOSTILE, "g", "h"))), encoding="utf-8")
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
    assert shown.get_by_text(SCRIPT, exact=True).count()
    shown.close()


def test_it_reads_without_scripts_and_holds_the_right_values(browser: Any, saved: str) -> None:
    shown, _ = opened(browser, saved, java_script_enabled=False)
    row = shown.get_by_role("table", name="Weighted τ on each task").first.locator("tbody tr").first
    assert row.locator("th").inner_text() == DEFAULT_RANKER
    assert row.locator("td").all_inner_texts() == ["1.00"] * 6
    shown.close()


def test_axe_finds_no_fault(browser: Any, saved: str) -> None:
    for scheme in ("light", "dark"):
        assert faults(browser, saved, color_scheme=scheme) == []
