from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from html import unescape

import pytest
import torch
from markdown_it import MarkdownIt

from rayxkd.distill.card import Score, StudentReport, TeacherUse, student_card_md
from rayxkd.distill.export import write_student
from rayxkd.distill.students import build_student, student_spec
from rayxkd.storage import Storage

SPEC = student_spec("small_resnet8", 3)
REPORT = StudentReport(
    title="Flowers, taught by birds",
    spec=SPEC,
    parameters=308_263,
    label_names=("daisy", "rose", "tulip"),
    license="mit",
    teachers=(
        TeacherUse("zoo/mobilenetv2_inat_birds", 0.75, "apache-2.0", 965, 1.23456),
        TeacherUse("zoo/unnamed", 0.25, None),
    ),
    data={"training": "s3://bucket/flowers", "test": "flowers/test"},
    objective="CE(y, p_S) + 5 D(p_T, p_S; C)",
    settings={"epochs": 60, "learning_rate": 0.05},
    scores=(Score("validation", 50, 100), Score("test", 610, 1000)),
    finished=date(2026, 1, 31),
    compared_with=(Score("cross-entropy alone", 0, 10),),
    pictures=("learning_curves.png",),
    version="9.9.9",
)


def rows(card: str) -> list[list[str]]:
    lines = [line for line in card.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def html(card: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(card)


@pytest.mark.parametrize(
    ("correct", "images", "low", "high"),
    [
        # (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n) with z = 1.959964
        (50, 100, 0.403832, 0.596168),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
    ],
)
def test_intervals_are_those_of_wilson(correct, images, low, high):
    score = Score("test", correct, images)
    assert score.interval == pytest.approx((low, high), abs=1e-5)
    assert score.accuracy == correct / images


def test_the_card_says_what_was_done():
    card = student_card_md(REPORT)
    assert card.startswith("# Flowers, taught by birds\n")
    for text in (
        "`rayxkd/small_resnet8`",
        "308,263 parameters",
        "3 classes",
        "images of 3 x 32 x 32",
        "daisy, rose, tulip",
        "License: mit",
        "`s3://bucket/flowers`",
        "![learning_curves.png](<learning_curves.png>)",
        "Written by rayxkd 9.9.9 on 2026-01-31.",
    ):
        assert text in card, text
    found = rows(card)
    assert ["validation", "50.0 %", "40.4 to 59.6 %", "100"] in found
    assert ["test", "61.0 %", "57.9 to 64.0 %", "1,000"] in found
    assert ["cross-entropy alone", "0.0 %", "0.0 to 27.8 %", "10"] in found
    assert ["zoo/mobilenetv2_inat_birds", "0.75", "965", "1.235", "apache-2.0"] in found
    assert ["zoo/unnamed", "0.25", "", "", "not given"] in found
    assert ["learning_rate", "0.05"] in found
    assert "CE(y, p_S) + 5 D(p_T, p_S; C)" in html(card)


def test_what_there_is_not_is_left_out():
    least = replace(REPORT, teachers=(), scores=(), compared_with=(), settings={}, pictures=())
    card = student_card_md(replace(least, license=None))
    for text in ("## Teachers", "## Accuracy", "setting", "![", "Other ways", "onnx"):
        assert text not in card, text
    assert "learnt from labels alone" in card
    assert "License: not given" in card
    assert "\n\n\n" not in card


def test_of_many_classes_some_are_named():
    names = tuple(f"class {number}" for number in range(100))
    card = student_card_md(
        replace(REPORT, spec=student_spec("small_resnet8", 100), label_names=names)
    )
    assert "class 19, and 80 more, see `config.json`" in card
    assert "class 20" not in card


NASTY = (
    "<script>alert(1)</script>",
    "a | b",
    "[click](https://example.org)",
    "![x](https://example.org/pixel.png)",
    "*bold* _thin_ __init__ `code` ~~gone~~",
    "first\n\n# second",
    "&lt;b&gt;",
    "back\\slash | \\",
    "$\\frac{1}{2}$ @someone",
)


@pytest.mark.parametrize("text", NASTY)
def test_text_of_others_is_shown_as_it_is(text):
    """Wherever it stands, no element and no cell more comes of it than of plain words."""

    def card_with(name: str) -> str:
        return student_card_md(
            replace(
                REPORT,
                title=name,
                label_names=(name, "rose", "tulip"),
                teachers=(TeacherUse(name, 1.0, name),),
                settings={name: name},
                objective=name,
                license=name,
                scores=(Score(name, 1, 2),),
            )
        )

    def elements(card: str) -> list[str]:
        return re.findall(r"</?\w+", html(card))

    assert elements(card_with(text)) == elements(card_with("words"))
    assert unescape(html(card_with(text))).count(" ".join(text.split())) == 10


def test_links_that_github_makes_of_plain_text_are_broken():
    card = student_card_md(replace(REPORT, title="see https://example.org or www.example.org"))
    assert "https://example.org" not in card
    assert "www.example.org" not in card


@pytest.mark.parametrize("address", ["a`b", "``", "a\nb", "`", "x|y"])
def test_an_address_with_backticks_stays_code(address):
    page = html(student_card_md(replace(REPORT, data={"training": address})))
    assert f"<li>training: <code>{address.replace(chr(10), ' ')}</code></li>" in page


def test_the_code_of_the_card_runs(tmp_path, monkeypatch):
    torch.manual_seed(0)
    student = build_student(SPEC)
    names = REPORT.label_names
    write_student(Storage.at(str(tmp_path)), student, SPEC, names, license=None, onnx=True)
    card = student_card_md(replace(REPORT, onnx=True))
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    place: dict[str, object] = {}
    exec(blocks[0], place)
    teacher = place["student"]
    exec(blocks[1], place)
    logits_BM = place["logits"]
    assert isinstance(logits_BM, torch.Tensor)
    torch.testing.assert_close(teacher.forward(place["images"])[0], logits_BM)
    exec(blocks[2], place)
    torch.testing.assert_close(torch.tensor(place["logits"]), logits_BM, rtol=1e-4, atol=1e-4)
