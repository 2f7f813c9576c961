"""The search: what is tried, what is written of it, and how it goes on."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from rayxkd.distill import DistillSettings, TrainingSettings, TransportSettings
from rayxkd.distill.faculty import choose_teachers
from rayxkd.distill.search import TuneSettings, tune
from rayxkd.distill.search.results import (
    Judge,
    SearchReport,
    next_command,
    progress_line,
    setting_json,
    summary,
)
from rayxkd.distill.search.space import NUMBER, Space, searched_settings
from rayxkd.distill.search.trial import ACCURACY, EPOCH, share_of, trial_folder
from rayxkd.distill.settings import with_config
from rayxkd.errors import UserError
from rayxkd.fleet.machines import Machine, Resources
from rayxkd.leaderboard import Leaderboard, TrialStatus, ranked_trials, search_table
from rayxkd.storage import Storage
from tests.conftest import REPO

BASES = {
    "default": DistillSettings(),
    "relation": DistillSettings(objective=("transport", "relation"), weight=(2.0, 50.0)),
    "temperature": DistillSettings(transport=TransportSettings(temperature=8.0)),
    "relaxed": DistillSettings(transport=TransportSettings(form="entropic", source_penalty=2.0)),
    "outside": DistillSettings(weight=(50.0,), transport=TransportSettings(epsilon=0.01)),
}
PARAMETERS = Space(DistillSettings()).first() | {NUMBER: 1}


def suggested(base: DistillSettings, count: int) -> list[dict[str, Any]]:
    """What Optuna suggests, as ``OptunaSearch`` asks it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = Space(base)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial(space.first())
    found = []
    for _ in range(count):
        trial = study.ask()
        number = space(trial)
        found.append(trial.params | number)
    return found


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"validation": 0.0}, "--validation 0"),
            ({"trials": 0}, "--trials 0"),
            ({"max_concurrent": 0}, "--max-concurrent 0"),
            ({"grace_epochs": 0}, "--grace-epochs 0"),
            ({"workers": 0}, "--workers 0"),
            ({"seed": -1}, "--seed -1"),
            ({"objective": ("probe",)}, "--objective probe"),
            ({"transport": TransportSettings(cost="lerned")}, "learned"),
        ],
    )
    def test_what_cannot_be_is_refused(self, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(UserError, match=said):
            TuneSettings(**changes).base()

    def test_base_setting_is_what_the_options_say(self) -> None:
        training = TrainingSettings(epochs=3)
        base = TuneSettings(training=training, student="small_resnet14", views=3).base()
        assert (base.training, base.student, base.views) == (training, "small_resnet14", 3)
        assert base.validation == 0.25
        assert base.test is None

    def test_base_setting_can_be_the_best_of_another_search(self, tmp_path: Path) -> None:
        file = tmp_path / "best.json"
        file.write_text(json.dumps(searched_settings(PARAMETERS | {"epsilon": 2.5})))
        assert TuneSettings(config=str(file)).base().transport.epsilon == 2.5

    def test_teachers_are_not_asked_online(self, tmp_path: Path) -> None:
        file = tmp_path / "online.json"
        file.write_text('{"teacher_pass": "online"}')
        with pytest.raises(UserError, match="online"):
            TuneSettings(config=str(file)).base()

    def test_help_needs_no_torch(self) -> None:
        code = "import sys, rayxkd.cli; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0


class TestSpace:
    @pytest.mark.parametrize("name", BASES)
    def test_first_trial_is_the_base_setting(self, name: str) -> None:
        base = BASES[name]
        first, *_ = suggested(base, 2)
        expected = replace(base, training=replace(base.training, learning_rate=0.1))
        assert Space(base).setting(first) == replace(expected, weight=base.weights)
        assert first[NUMBER] == 1

    @pytest.mark.parametrize("name", BASES)
    def test_every_suggestion_is_a_setting_that_can_be_trained(self, name: str) -> None:
        for parameters in suggested(BASES[name], 100):
            Space(BASES[name]).setting(parameters).check()

    def test_everything_is_tried(self) -> None:
        tried = [
            Space(DistillSettings()).setting(found) for found in suggested(BASES["default"], 100)
        ]
        assert {s.transport.cost for s in tried} == {"learned", "cooccurrence", "prototype"}
        assert {s.transport.form for s in tried} == {"expected", "target", "entropic"}
        assert {len(s.objective) for s in tried} == {1, 2}
        for values in (
            {s.transport.temperature is None for s in tried},
            {s.transport.source_penalty is None for s in tried},
        ):
            assert values == {True, False}
        relaxed = {s.transport.form for s in tried if s.transport.source_penalty is not None}
        assert relaxed == {"entropic"}

    def test_ranges(self) -> None:
        tried = suggested(DistillSettings(), 200)

        def limits(name: str) -> tuple[float, float]:
            values = [found[name] for found in tried if name in found]
            return min(values), max(values)

        for name, (low, high) in {
            "epsilon": (0.2, 5.0),
            "temperature": (1.0, 16.0),
            "weight": (0.3, 10.0),
            "learning_rate": (0.02, 0.5),
        }.items():
            least, most = limits(name)
            assert low <= least < low * 1.5
            assert high / 1.5 < most <= high

    def test_same_seed_same_suggestions(self) -> None:
        assert suggested(BASES["default"], 10) == suggested(BASES["default"], 10)

    def test_best_json_is_what_distill_takes(self, tmp_path: Path) -> None:
        for number, parameters in enumerate(suggested(BASES["relation"], 20)):
            file = tmp_path / f"{number}.json"
            row = Judge(2, 25).row(parameters, {EPOCH: 2, ACCURACY: 0.8})
            file.write_bytes(setting_json(row))
            read = with_config(DistillSettings(config=str(file)))
            tried = Space(DistillSettings(config=str(file))).setting(parameters)
            assert read == tried


class TestShare:
    def test_processors_are_divided(self) -> None:
        share = share_of(Resources((Machine(8),)), TuneSettings(max_concurrent=3))
        assert (share.concurrent, share.of_tune) == (3, {"CPU": 2.66})

    def test_one_trial_a_gpu(self) -> None:
        share = share_of(Resources((Machine(8, 2),)), TuneSettings())
        assert (share.concurrent, share.of_tune) == (2, {"CPU": 4.0, "GPU": 1.0})

    def test_no_more_than_there_are_trials(self) -> None:
        assert share_of(Resources((Machine(8),)), TuneSettings(trials=2)).concurrent == 2

    def test_ray_trains_workers_fit_beside_what_waits_for_them(self) -> None:
        share = share_of(Resources((Machine(2),)), TuneSettings(workers=2))
        waiting = share.of_tune["CPU"]
        assert waiting > 0  # Tune refuses 0
        assert share.concurrent * (2 * share.cpus + waiting) <= 2

    def test_a_cluster_that_cannot_hold_a_trial(self) -> None:
        with pytest.raises(UserError, match=r"--workers 4.*2 processor"):
            share_of(Resources((Machine(2),)), TuneSettings(workers=4))
        with pytest.raises(UserError, match="0 GPU"):
            share_of(Resources((Machine(2),)), TuneSettings(gpus_per_worker=1.0))

    def test_a_cluster_that_grows_may_be_empty(self) -> None:
        assert share_of(Resources((Machine(0),), joined=True), TuneSettings()).concurrent == 8


class TestRows:
    judge = Judge(epochs=4, images=50)

    def row(self, number: int, epoch: int, accuracy: float, *, done: bool = True) -> Any:
        result = {EPOCH: epoch, ACCURACY: accuracy, "done": done, "time_total_s": 3.0}
        return self.judge.row(PARAMETERS | {NUMBER: number}, result)

    def test_trained_to_the_end(self) -> None:
        row = self.row(1, 4, 0.72)
        assert (row.status, row.correct, row.images, row.epochs) == ("ok", 36, 50, 4)
        assert row.default
        assert row.accuracy_low < 0.72 < row.accuracy_high
        assert row.seconds == 3.0

    def test_stopped_and_unfinished(self) -> None:
        assert self.row(2, 3, 0.5).status == "stopped"
        assert self.row(2, 3, 0.5, done=False).status == "unfinished"
        assert not self.row(2, 3, 0.5).default

    def test_failed(self) -> None:
        row = self.judge.row(PARAMETERS, {}, "out of\n memory")
        assert (row.status, row.reason, row.accuracy) == ("failed", "out of memory", None)

    def test_rank_is_for_whole_trainings_and_the_earlier_of_equals_is_first(self) -> None:
        rows = [self.row(1, 4, 0.7), self.row(2, 2, 0.9), self.row(3, 4, 0.8), self.row(4, 4, 0.8)]
        failed = self.judge.row(PARAMETERS | {NUMBER: 5}, {}, "boom")
        found = [(row.trial, row.rank) for row in ranked_trials([failed, *reversed(rows)])]
        assert found == [(3, 1), (4, 2), (1, 3), (2, None), (5, None)]

    def test_last_line_compares_with_the_base_setting(self) -> None:
        report = self.report(self.row(1, 4, 0.7), self.row(2, 4, 0.8))
        assert "80.0%" in summary(report)
        assert "base setting: 70.0% (+10.0 points)" in summary(report)
        assert "the base setting itself" in summary(self.report(self.row(1, 4, 0.8)))

    def test_interrupted_when_trials_are_missing_or_not_done(self) -> None:
        done, other = self.row(1, 4, 0.7), self.row(2, 2, 0.8, done=False)
        assert not self.report(done).interrupted
        assert self.report(done, other).interrupted
        assert replace(self.report(done), trials=2).interrupted

    def test_progress_names_what_is_special(self) -> None:
        assert "base setting" in progress_line(self.row(1, 4, 0.7), 9)
        line = progress_line(self.row(2, 2, 0.7), 9)
        assert line.startswith("trial 2/9  70.0% stopped after 2 epochs")
        assert "epsilon 1" in line
        failed = self.judge.row(PARAMETERS | {NUMBER: 3}, {}, "boom")
        assert "failed: boom" in progress_line(failed, 9)

    def test_command_to_go_on_with(self) -> None:
        settings = TuneSettings(leaderboard="a board", data="d#x=1", teacher=("a", "b"))
        command = next_command(settings, "s3://x/search")
        assert "--leaderboard 'a board' --data 'd#x=1' --teacher a b" in command
        assert "--config s3://x/search/best.json" in command

    def test_a_search_is_no_leaderboard_of_teachers(self) -> None:
        board = self.report(self.row(1, 4, 0.7)).leaderboard
        with pytest.raises(UserError, match="holds a search"):
            choose_teachers(board, ["best"], ["five"])

    def report(self, *rows: Any) -> SearchReport:
        ranked = ranked_trials(rows)
        about = {"data": "d", "teachers": [], "validation_images": 50}
        board = Leaderboard.of("search", search_table(ranked, about))
        return SearchReport(board, tuple(ranked), len(rows))


def test_only_other_trials_than_the_first_are_stopped() -> None:
    from rayxkd.distill.search.tuning import Halving

    halving = Halving(grace=1, epochs=4)
    decisions = {}
    for number in (3, 2, 1):  # ever worse
        trial = SimpleNamespace(trial_id=str(number), config={NUMBER: number})
        halving.on_trial_add(None, trial)
        result = {EPOCH: 1, ACCURACY: number / 10}
        decisions[number] = halving.on_trial_result(None, trial, result)
    assert decisions == {3: "CONTINUE", 2: "STOP", 1: "CONTINUE"}


def test_a_setting_has_one_folder() -> None:
    storage, space = Storage.at("/x"), Space(DistillSettings())
    other = PARAMETERS | {"epsilon": 2.0}
    folders = [
        trial_folder(storage, space.setting(found)).url
        for found in (PARAMETERS, PARAMETERS | {NUMBER: 9}, other)
    ]
    assert folders[0] == folders[1] != folders[2]


@pytest.fixture
def search(ray_session: Any, board: Path, tmp_path: Path) -> Callable[..., SearchReport]:
    """A very short search on the demo, on real Ray."""

    def searched(**changes: Any) -> SearchReport:
        settings: dict[str, Any] = {
            "leaderboard": str(board),
            "out": str(tmp_path / "search"),
            "trials": 3,
            "mixtures": 20,
            "training": TrainingSettings(epochs=2, epoch_images=64, batch_size=32),
        }
        console = changes.pop("console", Console(file=io.StringIO()))
        return tune(TuneSettings(**(settings | changes)), console)

    return searched


def test_search(search: Callable[..., SearchReport], tmp_path: Path) -> None:
    report = search()
    assert {row.trial for row in report.rows} == {1, 2, 3}
    assert report.default is not None
    assert report.best is not None
    assert all(row.status in (TrialStatus.OK, TrialStatus.STOPPED) for row in report.rows)

    board = Leaderboard.open(str(tmp_path / "search"))
    assert board.table.equals(report.leaderboard.table)
    assert pq.read_table(tmp_path / "search" / "trials.parquet").equals(board.table)
    # 75 images to learn from and 20 blends, two views of each, asked once for all trials.
    assert (board.about["views_asked"], board.about["views_known"]) == (190, 0)
    taken = with_config(DistillSettings(config=str(tmp_path / "search" / "best.json")))
    assert taken.transport.epsilon == report.best.epsilon

    # Another search asks nobody; the same again has nothing to do; other settings are refused.
    other = search(out=str(tmp_path / "other"), seed=1)
    assert other.leaderboard.about["views_asked"] == 0
    said = io.StringIO()
    again = search(console=Console(file=said))
    assert again.rows == report.rows
    assert again.leaderboard.about["views_asked"] == 190
    assert "trial" not in said.getvalue()
    with pytest.raises(UserError, match="--trials 3, not 4"):
        search(trials=4)


@pytest.mark.slow
def test_failed_trials_are_rows(
    search: Callable[..., SearchReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_fails(parameters: dict[str, Any], orders: Any) -> None:
        from rayxkd.distill.search.trial import run_trial

        if parameters["number"] == 2:
            raise ValueError("it is made to fail")
        run_trial(parameters, orders)

    def all_fail(parameters: dict[str, Any], orders: Any) -> None:
        raise ValueError("it is made to fail")

    monkeypatch.setattr("rayxkd.distill.search.tuning.run_trial", second_fails)
    report = search(max_failures=0, trials=2)
    failed = next(row for row in report.rows if row.trial == 2)
    assert failed.status is TrialStatus.FAILED
    assert "it is made to fail" in failed.reason
    assert report.best is not None

    monkeypatch.setattr("rayxkd.distill.search.tuning.run_trial", all_fail)
    with pytest.raises(UserError, match=r"every trial failed.*it is made to fail"):
        search(out=str(tmp_path / "none"), max_failures=0, trials=2)
    assert Leaderboard.open(str(tmp_path / "none")).table["status"].to_pylist() == ["failed"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_goes_on_after_a_kill(board: Path, tmp_path: Path, end: signal.Signals) -> None:
    out = tmp_path / "search"
    command = [sys.executable, str(REPO / "jobs" / "tune.py"), "--leaderboard", str(board)]
    command += ["--out", str(out), "--trials", "4", "--training.epochs", "5", "--mixtures", "20"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        wait_for(lambda: log.read_text().count("\ntrial ") >= 2 or process.poll() is not None)
        process.send_signal(end)
        assert process.wait(60) == (-9 if end is signal.SIGKILL else 130), log.read_text()
    finished = {line.split()[1] for line in log.read_text().splitlines() if line[:6] == "trial "}
    before = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/checkpoint.pt")}

    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert " 0 views asked" in again.stdout
    rows = Leaderboard.open(str(out)).table.to_pylist()
    assert sorted(row["trial"] for row in rows) == [1, 2, 3, 4]
    assert {row["status"] for row in rows} <= {"ok", "stopped"}
    # What was finished is not trained again.
    kept = [path for path, changed in before.items() if path.stat().st_mtime_ns == changed]
    assert len(kept) >= len(finished) >= 2


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.slow
def test_ray_train_within_a_trial(board: Path, tmp_path: Path) -> None:
    """The workers of a stopped trial make room for those of the next."""
    command = [sys.executable, str(REPO / "jobs" / "tune.py"), "--leaderboard", str(board)]
    command += ["--out", str(tmp_path / "search"), "--trials", "3", "--mixtures", "20"]
    command += ["--workers", "2", "--training.epochs", "2", "--grace-epochs", "1"]
    command += ["--training.epoch-images", "64", "--training.batch-size", "32"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    rows = Leaderboard.open(str(tmp_path / "search")).table.to_pylist()
    assert {row["status"] for row in rows} <= {"ok", "stopped"}
    assert sorted(row["trial"] for row in rows) == [1, 2, 3]
    assert all(row["accuracy"] is not None for row in rows)
