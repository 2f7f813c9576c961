"""A whole study: small, but real."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from rayxkd.data import open_image_set
from rayxkd.distill.material import LabelledImages
from rayxkd.errors import UserError
from rayxkd.study import study
from rayxkd.study.analysis import analyse
from rayxkd.study.interview import candidates, questions
from rayxkd.study.ledger import Ledger
from rayxkd.study.rankers import Question, rankers, transport_cost
from rayxkd.study.run import StudyReport
from rayxkd.study.said import Interviewed
from rayxkd.study.tasks import StudyTask, read_tasks
from rayxkd.study.truth import PROBE, STUDENT, TRUTH, linear_probe
from rayxkd.study.zoo import Recipe
from rayxkd.transport import Predictions
from tests.study.conftest import quiet, study_settings


def told(settings: Any) -> tuple[StudyReport, str]:
    text = io.StringIO()
    return study(settings, Console(file=text, width=200)), text.getvalue()


def test_every_cell_is_filled(finished: tuple[Path, StudyReport]) -> None:
    out, report = finished
    results = report.results
    assert results.teachers.num_rows == 4
    # 4 teachers, 2 tasks, 2 seeds, 4 rankers
    assert results.scores.num_rows == 4 * 2 * 2 * 4
    counts = {
        kind: pc.sum(pc.equal(results.truth["kind"], kind)).as_py() for kind in (PROBE, STUDENT)
    }
    # Four parts of the test images. Students of 4 teachers on one task, of labels alone on both.
    assert counts == {PROBE: 4 * 2 * 4, STUDENT: 4 * 2 + 2 * 2}
    assert not results.scores["score"].null_count
    for name in ("teachers", "scores", "truth"):
        assert pq.read_table(out / f"{name}.parquet").equals(getattr(results, name))
    table = pq.read_table(out / "agreement.parquet")
    assert set(table["ranker"].to_pylist()) >= {"learned", "leep", "best on average"}
    assert set(table["tasks"].to_pylist()) == {"reported", "chosen on"}


def test_tasks_that_served_for_choosing_stand_apart(finished: tuple[Path, StudyReport]) -> None:
    _, report = finished
    parts = {(truth.kind, truth.chosen): [t.task for t in truth.tasks] for truth in report.truths}
    assert parts == {
        (PROBE, False): ["first"],
        (PROBE, True): ["second"],
        (STUDENT, False): ["first"],
    }


def test_nothing_is_done_twice(
    zoo: tuple[Path, list[Recipe]], finished: tuple[Path, StudyReport]
) -> None:
    out, report = finished
    settings = study_settings(zoo[0], out)
    before = {file: file.stat().st_mtime_ns for file in (out / "parts").rglob("*.parquet")}
    again, text = told(settings)
    assert text == ""
    assert {file: file.stat().st_mtime_ns for file in (out / "parts").rglob("*.parquet")} == before
    for name in ("teachers", "scores", "truth"):
        key = [(column, "ascending") for column in getattr(report.results, name).column_names[:3]]
        assert getattr(again.results, name).sort_by(key).num_rows
    more, text = told(replace(settings, metrics=(*settings.metrics, "nce")))
    assert text.count("probe sets scored: 16/16") == 1
    assert "students" not in text
    assert more.results.scores.num_rows == 4 * 2 * 2 * 5


def test_another_study_is_refused(
    zoo: tuple[Path, list[Recipe]], finished: tuple[Path, StudyReport]
) -> None:
    settings = study_settings(zoo[0], finished[0], labelled=9)
    with pytest.raises(UserError, match="--labelled 10, not 9"):
        study(settings, quiet())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"test": ("demo://test",)}, "--test has 1 addresses for 2"),
        ({"names": ("one", "one")}, "--names must be 2 different names"),
        ({"students_on": ("third",)}, "unknown task 'third'"),
        ({"metrics": ("lep",)}, "unknown score 'lep': did you mean 'leep'"),
        ({"labelled": 50}, "--labelled 50 are to be drawn of each"),
        ({"repository": ()}, "--repository and --data need"),
        ({"seeds": 0}, "--seeds must be 1 or more"),
        ({"test": ("demo://test", "demo://test")}, "give the same classes"),
    ],
)
def test_bad_input_is_one_line(
    zoo: tuple[Path, list[Recipe]], tmp_path: Path, changes: dict[str, object], line: str
) -> None:
    out = tmp_path / "study"
    with pytest.raises(UserError, match=line) as caught:
        study(study_settings(zoo[0], out, **changes), quiet())
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_broken_teacher_is_a_row(zoo: tuple[Path, list[Recipe]], tmp_path: Path) -> None:
    import shutil

    repository = Path(shutil.copytree(zoo[0], tmp_path / "zoo"))
    weights = next(repository.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    settings = study_settings(repository, tmp_path / "study", metrics=("leep",), students_on=())
    report, text = told(settings)
    statuses = report.results.teachers["status"].to_pylist()
    assert sorted(statuses) == ["invalid", "ok", "ok", "ok"]
    assert "is invalid: " in text
    assert [len(truth.teachers) for truth in report.truths] == [3, 3]


def tasks_of(zoo: Path) -> list[StudyTask]:
    return read_tasks(study_settings(zoo, Path("unused")))


def test_draws_share_no_image(zoo: tuple[Path, list[Recipe]]) -> None:
    task = tasks_of(zoo[0])[0]
    draws = [task.draw(10, 5, seed) for seed in range(3)]
    for draw in draws:
        assert not set(draw.labelled_N) & set(draw.unlabelled_U)
        counts = np.bincount(task.pool.labels_N[draw.labelled_N])
        assert counts.tolist() == [10, 10, 10]
        assert np.bincount(task.pool.labels_N[draw.unlabelled_U]).tolist() == [5, 5, 5]
    assert draws[0].labelled_N.tolist() != draws[1].labelled_N.tolist()
    again = task.draw(10, 5, 0)
    assert again.labelled_N.tolist() == draws[0].labelled_N.tolist()


def test_every_image_is_asked_about_once(zoo: tuple[Path, list[Recipe]]) -> None:
    tasks = tasks_of(zoo[0])
    asked = questions([*tasks, tasks[0]], views=2)
    keys = asked.keys()
    assert len(set(keys)) == len(keys)
    pool = {digest for task in tasks for digest in task.pool.images.digests}
    test = {digest for task in tasks for digest in task.test.images.digests}
    assert len(keys) == 2 * len(pool) + len(test - pool)


def test_own_accuracy_is_read_from_cards(zoo: tuple[Path, list[Recipe]]) -> None:
    found, rejected = candidates([str(zoo[0])])
    assert not rejected
    assert all(
        one.card.own_accuracy is not None and 0 < one.card.own_accuracy <= 1 for one in found
    )


def digits() -> tuple[LabelledImages, Predictions]:
    from rayxkd.distill.gather import read_labelled

    images = read_labelled(open_image_set("demo://test"))
    pixels = [np.asarray(images.images.decoded(place)) for place in range(len(images))]
    flat = torch.from_numpy(np.stack(pixels).reshape(len(images), -1).astype(np.float32))
    return images, Predictions(flat[:, 26:38], flat)


def test_a_linear_probe_learns_what_features_hold() -> None:
    images, predictions = digits()
    half = torch.arange(len(images)) % 2 == 0
    pool, test = predictions.rows(half), predictions.rows(~half)
    labels_N = images.labels_N
    learnt_N, tested_N = labels_N[half.numpy()], labels_N[~half.numpy()]
    assert np.mean(linear_probe(pool, learnt_N, test) == tested_N) > 0.9
    shuffled_N = np.random.default_rng(0).permutation(learnt_N)
    assert np.mean(linear_probe(pool, shuffled_N, test) == tested_N) < 0.4, "chance is a fifth"


def question(seed: int = 0) -> Question:
    images, predictions = digits()
    teacher = Interviewed("teacher", "ab" * 32, ("Five", "none"), 12, 0.5)
    student_UM = torch.full((len(images), 5), 0.2, dtype=torch.float64)
    names = ("five", "six", "seven", "eight", "nine")
    return Question(
        teacher,
        predictions,
        torch.from_numpy(images.labels_N),
        names,
        seed,
        predictions,
        student_UM,
    )


def test_every_ranker_gives_a_number() -> None:
    asked = question()
    scores = {name: ranker.score(asked) for name, ranker in rankers().items()}
    assert all(np.isfinite(score) for score in scores.values())
    assert scores["class overlap"] == 0.2
    assert scores["parameters"] == 12
    assert scores["own accuracy"] == 0.5
    assert scores["classes"] == 12


def test_controls_say_nothing_and_the_cost_does() -> None:
    asked = question()
    guessing = float(np.log(5))
    assert transport_cost(asked) < 0.8 * guessing
    assert transport_cost(asked.shuffled) > 0.95 * guessing
    assert transport_cost(asked, permuted=True) > transport_cost(asked) + 0.3


def test_random_depends_on_teacher_and_seed_alone() -> None:
    score = rankers()["random"].score
    assert score(question()) == score(question())
    assert score(question()) != score(question(seed=1))


def test_a_damaged_part_counts_as_not_there(tmp_path: Path) -> None:
    from rayxkd.storage import Storage

    ledger = Ledger(Storage.at(str(tmp_path)), "students", TRUTH)
    names = [ledger.name("a", number) for number in range(2)]
    row = {"teacher": "a", "task": "t", "kind": STUDENT, "seed": 0, "accuracy": 0.5, "images": 10}
    for name in names:
        ledger.write(name, [row])
    (tmp_path / "parts" / "students" / names[0]).write_bytes(b"PAR1")
    assert ledger.read(names).num_rows == 1


def test_what_is_not_there_for_every_teacher_is_left_out(
    finished: tuple[Path, StudyReport],
) -> None:
    _, report = finished
    results = report.results
    teacher = results.teachers["teacher"][0].as_py()
    lacking = pc.and_(
        pc.equal(results.scores["ranker"], "leep"), pc.equal(results.scores["teacher"], teacher)
    )
    thinner = replace(results, scores=results.scores.filter(pc.invert(lacking)))
    names = {ranker.name for truth in analyse(thinner, ()) for ranker in truth.rankers}
    assert "learned" in names
    assert "leep" not in names
