"""What came of a search: its table, the best setting as a file, and the line that sums it up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayxkd.distill.card import Score
from rayxkd.distill.search.settings import TuneSettings
from rayxkd.distill.search.space import FIRST, NUMBER, Parameters, searched_settings
from rayxkd.distill.search.trial import ACCURACY, EPOCH
from rayxkd.errors import UserError
from rayxkd.leaderboard import TABLE_FILE, Leaderboard, TrialRow, TrialStatus, parquet_of
from rayxkd.secrets import recordable, without_secrets
from rayxkd.storage import Storage

BEST_FILE = "best.json"
TRIALS_FILE = "trials.parquet"
_COLUMNS = (
    *("cost", "form", "epsilon", "temperature", "source_penalty"),
    *("weight", "relation_weight", "learning_rate"),
)


@dataclass(frozen=True)
class SearchReport:
    """What a search did.

    Attributes:
        leaderboard: the finished table.
        rows: one a trial that was begun, ranked.
        trials: how many there should be.
    """

    leaderboard: Leaderboard
    rows: tuple[TrialRow, ...]
    trials: int

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it: trials are missing or not done."""
        ended = [row for row in self.rows if row.status is not TrialStatus.UNFINISHED]
        return len(ended) < self.trials

    @property
    def best(self) -> TrialRow | None:
        """The first of those that trained to the end."""
        return next((row for row in self.rows if row.rank is not None), None)

    @property
    def default(self) -> TrialRow | None:
        """The base setting, if it trained to the end."""
        return next((row for row in self.rows if row.default and row.rank is not None), None)


@dataclass(frozen=True)
class Judge:
    """Makes rows of what Tune knows of trials.

    Attributes:
        epochs: of a training.
        images: held back.
    """

    epochs: int
    images: int

    def row(self, parameters: Parameters, result: Mapping[str, Any], failure: str = "") -> TrialRow:
        """What came of a trial.

        Args:
            parameters: of its setting, and its number.
            result: the last that it reported.
            failure: why it failed.
        """
        epochs, reason = int(result.get(EPOCH, 0)), " ".join(failure.split())
        status = self._status(epochs, ended=bool(result.get("done")), failed=bool(reason))
        values: dict[str, Any] = {name: parameters.get(name) for name in _COLUMNS}
        return TrialRow(
            trial=parameters[NUMBER],
            default=parameters[NUMBER] == FIRST,
            status=status,
            reason=reason,
            epochs=epochs,
            seconds=result.get("time_total_s"),
            **values,
            **self._score(result.get(ACCURACY)),
        )

    def _status(self, epochs: int, *, ended: bool, failed: bool) -> TrialStatus:
        if failed:
            return TrialStatus.FAILED
        if epochs >= self.epochs:
            return TrialStatus.OK
        return TrialStatus.STOPPED if ended else TrialStatus.UNFINISHED

    def _score(self, accuracy: float | None) -> dict[str, Any]:
        if accuracy is None:
            return {}
        score = Score("validation", round(accuracy * self.images), self.images)
        low, high = score.interval
        return {
            "accuracy": score.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "correct": score.correct,
            "images": score.images,
        }


def last_line(error: BaseException) -> str:
    """What an error of a trial says in the end, without the way there."""
    lines = without_secrets(str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def write_results(storage: Storage, report: SearchReport) -> None:
    """Write the table, for a leaderboard's readers and under its own name, and the best setting.

    Raises:
        UserError: they cannot be written.
    """
    content = parquet_of(report.leaderboard.table)
    try:
        for name in (TABLE_FILE, TRIALS_FILE):
            storage.write(name, content)
        if report.best is not None:
            storage.write(BEST_FILE, setting_json(report.best))
    except OSError as error:
        raise UserError(
            f"--out {storage.url} cannot be written: {error}; the trials are kept: run the same "
            "again"
        ) from error


def setting_json(row: TrialRow) -> bytes:
    """The setting of a trial as ``jobs/distill.py --config`` takes it."""
    content = searched_settings({name: getattr(row, name) for name in _COLUMNS})
    return (json.dumps(content, indent=1) + "\n").encode()


def progress_line(row: TrialRow, total: int) -> str:
    """What came of a trial, in a line."""
    parts = [f"trial {row.trial}/{total}"]
    if row.status is TrialStatus.FAILED:
        parts.append(f"failed: {row.reason}")
    elif row.accuracy is not None:
        stopped = "" if row.status is TrialStatus.OK else "stopped "
        parts.append(f"{row.accuracy:.1%} {stopped}after {row.epochs} epochs")
    values = {name: getattr(row, name) for name in _COLUMNS}
    shown = [
        value if isinstance(value, str) else f"{name.replace('_', ' ')} {value:.3g}"
        for name, value in values.items()
        if value is not None
    ]
    return "  ".join([*parts, "base setting" if row.default else ", ".join(shown)])


def summary(report: SearchReport) -> str:
    """The best accuracy against that of the base setting."""
    best, default = report.best, report.default
    if best is None:
        return "no trial was trained to the end"
    low, high = best.accuracy_low or 0.0, best.accuracy_high or 0.0
    line = (
        f"best of {len(report.rows)} trials: {best.accuracy:.1%} [{low:.1%}, {high:.1%}] of "
        f"{best.images} held-back images (trial {best.trial})"
    )
    if best.default:
        return f"{line}: the base setting itself"
    if default is None or best.accuracy is None or default.accuracy is None:
        return line
    gain = 100 * (best.accuracy - default.accuracy)
    return f"{line}; base setting: {default.accuracy:.1%} ({gain:+.1f} points)"


def next_command(settings: TuneSettings, url: str) -> str:
    """How a student is trained with the best setting; secrets of addresses are to be filled in."""
    options: list[str] = ["--leaderboard", settings.leaderboard, "--data", settings.data]
    if settings.unlabelled is not None:
        options += ["--unlabelled", settings.unlabelled]
    default = TuneSettings()
    if settings.teacher != default.teacher:
        options += ["--teacher", *settings.teacher]
    if settings.student != default.student:
        options += ["--student", settings.student]
    if settings.training.epochs != default.training.epochs:
        options += ["--training.epochs", str(settings.training.epochs)]
    options += ["--config", f"{url}/{BEST_FILE}", "--out", "student"]
    return shlex.join(["python", "jobs/distill.py", *recordable(options)])
