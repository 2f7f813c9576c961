"""Distillation from end to end on the demo, in this process: folder, second runs, mistakes."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from rayxkd.assess import AssessSettings, assess
from rayxkd.cli import app
from rayxkd.console import run_app
from rayxkd.distill.gather import gather_task
from rayxkd.distill.outcome import DistillReport
from rayxkd.distill.settings import DistillSettings
from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.teachers import PredictionStore, ViewKey

Run = Callable[..., DistillReport]
FILES = {
    "README.md",
    "checkpoint.pt",
    "config.json",
    "curves.png",
    "metrics.parquet",
    "model.pt2",
    "model.safetensors",
    "run.json",
    "tensorboard",
}
# Of what a run leaves, this changes whenever it is written.
CHANGING = {"README.md", "curves.png", "model.pt2"}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_folder_has_all_that_was_promised(run: Run, tmp_path: Path) -> None:
    report = run()
    student = tmp_path / "student"
    assert {path.name for path in student.iterdir()} == FILES
    assert list((student / "tensorboard").iterdir())
    card = json.loads((student / "config.json").read_text())
    assert card["architecture"] == "small_resnet8"
    assert card["num_classes"] == 5
    assert card["label_names"] == ["five", "six", "seven", "eight", "nine"]
    assert card["pretrained_cfg"]["input_size"] == [3, 8, 8]
    assert card["pretrained_cfg"]["license"] == "apache-2.0"
    metrics = pq.read_table(student / "metrics.parquet")
    assert metrics.equals(report.metrics)
    assert metrics["epoch"].to_pylist() == [1, 2]
    assert report.test is not None
    assert report.test.images == 188
    assert metrics["accuracy_test"].to_pylist()[-1] == pytest.approx(report.test.accuracy)
    readme = (student / "README.md").read_text()
    for part in ("zoo/ten_digits", "apache-2.0", "demo://test", f"{report.test.accuracy:.1%}"[:-1]):
        assert part in readme, part


def test_what_is_measured_now_and_then_is_in_the_table(run: Run, tmp_path: Path) -> None:
    run(objective=("cross_entropy",), training={"epochs": 40, "epoch_images": 32, "batch_size": 64})
    metrics = pq.read_table(tmp_path / "student" / "metrics.parquet")
    accuracies = metrics["accuracy_test"].to_pylist()
    assert [value is not None for value in accuracies] == [False, True] * 20


def test_the_student_is_a_teacher_of_the_next_round(run: Run, tmp_path: Path) -> None:
    first = run(training={"epochs": 6, "epoch_images": 400})
    assert first.test is not None
    assert first.test.accuracy > 0.6
    shutil.copytree(tmp_path / "student", tmp_path / "next" / "small")
    settings = AssessSettings(
        repository=(str(tmp_path / "next"),), out=str(tmp_path / "second"), workers=0
    )
    (row,) = assess(settings, Console(quiet=True)).leaderboard.table.to_pylist()
    assert (row["status"], row["num_classes"], row["teacher"]) == ("ok", 5, "next/small")
    assert row["relative_cost"] < 0.8
    second = run(
        leaderboard=str(tmp_path / "second"), out=str(tmp_path / "grandchild"), compare=False
    )
    assert second.teachers[0].card.teacher == "next/small"


def test_a_second_run_asks_nobody_and_gives_the_same(run: Run, tmp_path: Path) -> None:
    first = run()
    assert (first.passed.asked, first.passed.known) == (240, 0)
    before = content(tmp_path / "student")
    second = run()
    assert (second.passed.asked, second.passed.known) == (0, 240)
    assert second.metrics.equals(first.metrics)
    assert second.test == first.test
    after = content(tmp_path / "student")
    assert {Path(name).name for name in before if "tensorboard" not in name} == {
        Path(name).name for name in after if "tensorboard" not in name
    }
    for name in after.keys() & before.keys():
        if name not in CHANGING and "tensorboard" not in name:
            assert after[name] == before[name], name
    assert len([name for name in after if "tensorboard" in name]) == 1


def test_a_run_that_was_stopped_goes_on(run: Run, tmp_path: Path) -> None:
    undisturbed = run(training={"epochs": 4}, out=str(tmp_path / "undisturbed"))

    class Stopping(Console):
        def print(self, *parts: Any, **_: Any) -> None:
            if "epoch 2/4" in str(parts[0]):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(training={"epochs": 4}, console=Stopping(file=io.StringIO()))
    told = io.StringIO()
    went_on = run(training={"epochs": 4}, console=Console(file=told, width=200))
    assert went_on.passed.asked == 0
    assert [word for word in ("1/4", "2/4", "3/4", "4/4") if word in told.getvalue()] == [
        "3/4",
        "4/4",
    ]
    assert went_on.metrics.equals(undisturbed.metrics)
    assert (tmp_path / "student" / "model.safetensors").read_bytes() == (
        tmp_path / "undisturbed" / "model.safetensors"
    ).read_bytes()


def test_the_predictions_are_shared(run: Run, board: Path, tmp_path: Path) -> None:
    """By whatever trains on the same images: other objectives, seeds of training, settings."""
    run()
    other = run(out=str(tmp_path / "other"), objective=("probe",), training={"learning_rate": 0.01})
    assert other.passed.asked == 0
    # One more view of each image: only that is asked.
    more = run(out=str(tmp_path / "more"), views=3)
    assert (more.passed.asked, more.passed.known) == (120, 240)
    task = gather_task(DistillSettings(mixtures=20))
    teacher = more.teachers[0].digest
    store = PredictionStore(Storage.at(str(board / "predictions")), teacher)
    digests = task.training.images.digests
    assert store.missing([ViewKey(digest, view) for digest in digests for view in range(3)]) == []


def test_a_torn_file_of_predictions_is_asked_for_again(
    run: Run, board: Path, tmp_path: Path
) -> None:
    first = run()
    for file in (board / "predictions").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:100])
    again = run(out=str(tmp_path / "again"))
    assert again.passed.asked == 240
    assert again.metrics.equals(first.metrics)


def test_a_faculty(run: Run, tmp_path: Path) -> None:
    told = io.StringIO()
    report = run(
        teacher=("zoo/low_digits", "zoo/ten_digits"), console=Console(file=told, width=200)
    )
    assert [one.card.teacher for one in report.teachers] == ["zoo/ten_digits", "zoo/low_digits"]
    assert report.passed.asked == 480
    assert "zoo/ten_digits, zoo/low_digits: 100 labelled, 20 mixed images; 480 views asked" in (
        told.getvalue()
    )
    readme = (tmp_path / "student" / "README.md").read_text()
    assert "zoo/ten_digits" in readme
    assert "zoo/low_digits" in readme


def test_compared_with_cross_entropy_alone(run: Run, tmp_path: Path) -> None:
    told = io.StringIO()
    report = run(compare=True, console=Console(file=told, width=200))
    assert report.compared is not None
    assert report.compared.images == 188
    assert "cross-entropy alone epoch 2/2" in told.getvalue()
    assert "cross-entropy alone" in (tmp_path / "student" / "README.md").read_text()
    # The figure is that of the command that trains it by itself, for as many images.
    alone = run(objective=("cross_entropy",), out=str(tmp_path / "alone"))
    assert alone.teachers == ()
    assert alone.passed.asked == 0
    assert alone.test is not None
    assert (report.compared.correct, report.compared.images) == (
        alone.test.correct,
        alone.test.images,
    )
    again = run(compare=True)
    assert again.compared == report.compared


@pytest.mark.parametrize(
    "objective",
    [
        ("label_smoothing",),
        ("confidence_penalty",),
        ("sorted_logits",),
        ("relation",),
        ("transport", "relation", "confidence_penalty"),
    ],
)
def test_objectives_and_mixes(run: Run, objective: tuple[str, ...]) -> None:
    report = run(objective=objective, weight=(0.5,), training={"epochs": 1})
    columns = set(report.metrics.column_names)
    assert {f"loss_{name}" for name in (*objective, "cross_entropy")} <= columns
    without = {("label_smoothing",), ("confidence_penalty",)}
    assert bool(report.teachers) == (objective not in without)


def test_the_control_differs_from_what_it_controls(run: Run, tmp_path: Path) -> None:
    from rayxkd.distill import TransportSettings

    honest = run(training={"epochs": 1})
    control = run(
        transport=TransportSettings(permute_cost=True),
        out=str(tmp_path / "control"),
        training={"epochs": 1},
    )
    losses = [report.metrics["loss_transport"][0].as_py() for report in (honest, control)]
    assert losses[0] != losses[1]


def test_online_and_again(run: Run, tmp_path: Path) -> None:
    told = io.StringIO()
    report = run(teacher_pass="online", console=Console(file=told, width=200))
    assert "asked in every step" in told.getvalue()
    again = run(teacher_pass="online", out=str(tmp_path / "again"))
    assert again.metrics.equals(report.metrics)
    assert report.metrics["loss_transport"].to_pylist()[-1] > 0


def test_unlabelled_and_validation(run: Run) -> None:
    told = io.StringIO()
    report = run(
        unlabelled="demo://test",
        validation=0.2,
        mixtures=None,
        training={"epochs": 1, "epoch_images": 64},
        views=1,
        console=Console(file=told, width=200),
    )
    assert "80 labelled, 188 unlabelled, 1812 mixed images; 2080 views asked" in told.getvalue()
    assert 0 <= report.metrics["accuracy_validation"][0].as_py() <= 1


def test_images_that_nobody_looks_at_are_told(run: Run) -> None:
    told = io.StringIO()
    console = Console(file=told, width=200)
    run(objective=("label_smoothing",), unlabelled="demo://test", console=console)
    assert "--unlabelled is left aside: label_smoothing learns from labels alone" in told.getvalue()


def test_another_student_and_size(run: Run, tmp_path: Path) -> None:
    run(student="small_resnet14", image_size=16, training={"epochs": 1})
    card = json.loads((tmp_path / "student" / "config.json").read_text())
    assert card["architecture"] == "small_resnet14"
    assert card["pretrained_cfg"]["input_size"] == [3, 16, 16]


def test_everything_in_a_bucket(run: Run, bucket: str, tmp_path: Path) -> None:
    """Student, checkpoints and predictions, over a real S3 API; the same as on a disk."""
    import fsspec

    local = run()
    fsspec.filesystem("s3").put(str(tmp_path / "board"), f"{bucket}/board", recursive=True)
    remote: dict[str, Any] = {"leaderboard": f"{bucket}/board", "out": f"{bucket}/student"}
    report = run(**remote)
    assert report.passed.asked == 0, "the predictions were copied with the leaderboard"
    assert report.metrics.equals(local.metrics)
    names = {name.split("/")[0] for name in Storage.at(f"{bucket}/student").find()}
    assert names == FILES
    again = run(**remote)
    assert again.metrics.equals(report.metrics)
    files = fsspec.filesystem("s3").find(f"{bucket}/student/tensorboard")
    assert len(files) == 1


# Mistakes, through the command


def command(*arguments: str | Path) -> int:
    return run_app(app, ["distill", *map(str, arguments)])


@pytest.fixture
def mistakes(board: Path, tmp_path: Path) -> dict[str, tuple[list[str | Path], str]]:
    """Arguments by what is wrong with them, and a part of the line that must say so."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    strange = tmp_path / "strange.json"
    strange.write_text('{"vieuws": 3}')
    other = tmp_path / "other_classes"
    task = gather_task(DistillSettings(mixtures=0))
    for name in ("cat", "dog"):
        (other / name).mkdir(parents=True)
        for place in range(3):
            (other / name / f"{place}.png").write_bytes(task.training.images.encoded(place))
    return {
        "no leaderboard": (["--leaderboard", tmp_path / "nowhere"], "there is no leaderboard at"),
        "unknown teacher": (["--teacher", "zoo/ten_digit"], "did you mean 'zoo/ten_digits'"),
        "teacher not ok": (["--teacher", "zoo/broken"], "cannot teach: it is unsupported"),
        "other classes": (["--data", other], "assess the teachers on this task first"),
        "no data": (["--data", tmp_path / "nowhere"], "nowhere"),
        "unknown student": (["--student", "small_resnet9"], "did you mean 'small_resnet8'"),
        "unknown test class": (["--test", other], "has classes that the labelled images do not"),
        "foreign output": (["--out", foreign], "holds 'thesis.tex'"),
        "foreign, fresh": (["--out", foreign, "--fresh"], "holds 'thesis.tex'"),
        "strange config": (["--config", strange], "did you mean 'views'"),
        "no config": (["--config", tmp_path / "nowhere.json"], "cannot be read"),
        "no epochs": (["--training.epochs", "0"], "--training.epochs must be positive"),
        "no number": (["--training.epochs", "many"], "many"),
        "unknown option": (["--epoch", "3"], "--epoch"),
        "unknown objective": (["--objective", "transprot"], "did you mean 'transport'"),
        "unknown cost": (["--transport.cost", "lerned"], "did you mean 'learned'"),
        "compare with nothing": (["--compare"], "--compare needs --test"),
        "unlabelled": (["--unlabelled", tmp_path / "nowhere"], "nowhere"),
        "other settings": (
            ["--out", tmp_path / "student", "--views", "3"],
            "was begun with --views 2, not 3",
        ),
    }


def test_every_mistake_is_one_line(
    run: Run,
    board: Path,
    tmp_path: Path,
    mistakes: dict[str, tuple[list[str | Path], str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    short: list[str | Path] = ["--training.epochs", "1", "--training.epoch-images", "64"]
    begun = [*short, "--leaderboard", board, "--workers", "0", "--mixtures", "4"]
    assert command(*begun, "--out", tmp_path / "student") == 0
    capsys.readouterr()
    before = content(tmp_path)
    for what, (arguments, line) in mistakes.items():
        given = [str(argument) for argument in arguments]
        rest = [*map(str, begun), "--out", str(tmp_path / "new")]
        for option in given:  # what is given twice would be a mistake of the test's
            if option.startswith("--") and option in rest:
                place = rest.index(option)
                del rest[place : place + 2]
        assert command(*rest, *given) == 1, what
        said = capsys.readouterr()
        assert line in said.err, (what, said.err)
        assert len(said.err.strip().splitlines()) == 1, (what, said.err)
        assert "Traceback" not in said.err + said.out, what
        assert not (tmp_path / "new").exists(), what
    assert content(tmp_path) == before


def test_onnx_without_its_library(
    board: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("onnx", "onnxscript")]:
        monkeypatch.delitem(sys.modules, name)
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("onnx", "onnxscript") else found(name, *rest),
    )
    out = tmp_path / "student"
    assert command("--leaderboard", board, "--out", out, "--workers", "0", "--onnx") == 1
    said = capsys.readouterr().err
    assert "rayxkd[onnx]" in said
    assert len(said.strip().splitlines()) == 1
    assert not out.exists()


def test_a_teacher_that_has_changed_is_told(
    trained_zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = tmp_path / "zoo"
    shutil.copytree(trained_zoo / "ten_digits", zoo / "ten_digits")
    settings = AssessSettings(repository=(str(zoo),), out=str(tmp_path / "board"), workers=0)
    assess(settings, Console(quiet=True))
    shutil.copy(trained_zoo / "shuffled_labels" / "model.pt2", zoo / "ten_digits" / "model.pt2")
    arguments = ["--leaderboard", tmp_path / "board", "--out", tmp_path / "out", "--workers", "0"]
    assert command(*arguments) == 1
    said = capsys.readouterr().err
    assert "teacher 'zoo/ten_digits' cannot be asked" in said
    assert "assess it again" in said
    assert len(said.strip().splitlines()) == 1


def test_the_last_lines_say_what_came_of_it(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--training.epochs", "1", "--training.epoch-images", "64", "--mixtures", "4"]
    fixed = [*short, "--leaderboard", board, "--workers", "0", "--out", tmp_path / "student"]
    assert command(*fixed, "--test", "demo://test", "--compare") == 0
    first = capsys.readouterr().out.strip().splitlines()
    assert first[-2].startswith("accuracy on 188 test images: ")
    assert "; cross-entropy alone: " in first[-2]
    assert "1 epoch(s) trained in " in first[-2]
    assert first[-1] == f"student: {tmp_path / 'student'}"
    assert command(*fixed, "--test", "demo://test", "--compare") == 0
    second = capsys.readouterr().out.strip().splitlines()
    assert "nothing was left to train" in second[-2]
    assert second[-2].split("; ")[:2] == first[-2].split("; ")[:2]


def test_a_full_disk_is_one_line_and_keeps_the_training(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Storage.write

    def full(self: Storage, relative: str, data: bytes) -> None:
        if relative == "curves.png":
            raise OSError(28, "No space left on device")
        write(self, relative, data)

    with monkeypatch.context() as context:
        context.setattr(Storage, "write", full)
        with pytest.raises(UserError, match=r"cannot be written to .*No space left.*run the same"):
            run()
    told = io.StringIO()
    report = run(console=Console(file=told, width=200))
    assert "epoch" not in told.getvalue()
    assert report.metrics.num_rows == 2
