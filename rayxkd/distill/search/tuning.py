"""What Ray Tune is told: how to suggest, when to stop, and how to go on after a kill.

Imports Ray, so it is imported only when the cluster's environment is set.
"""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from rich.console import Console

from rayxkd.console import literal
from rayxkd.distill.search.results import Judge, last_line, progress_line
from rayxkd.distill.search.settings import TuneSettings
from rayxkd.distill.search.space import FIRST, NUMBER
from rayxkd.distill.search.trial import ACCURACY, EPOCH, Orders, run_trial
from rayxkd.distill.train import ray_storage
from rayxkd.leaderboard import TrialRow

# Trials that Optuna draws at random, after the base setting, before it learns from them.
_RANDOM_TRIALS = 5
# At each rung, epochs of which the next has so many times more, the worse half is stopped.
_HALVING = 2
_RUN_NAME = "tune"
_ENVIRONMENT = {
    # No tables and TensorBoard files of Tune's own: ours are in the search's directory.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Its newer output prints a frame even if it is told to be silent.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Notes from which a search goes on, every second: what they lack is lost by a SIGKILL.
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
}


def run_trials(
    settings: TuneSettings, orders: Orders, judge: Judge, console: Console
) -> list[TrialRow]:
    """Have Tune run all trials, or those that are left.

    A signal ends it in good order; then trials are missing or not done.

    Returns:
        A row for each trial that was begun.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _keep_keys_out_of_logs()
    # It tells at length, by traceback, what stands in the table in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    watch = _Watch(console, judge, settings.trials)
    token = _watch.set(watch)
    try:
        with warnings.catch_warnings():
            # A trial that goes on counts its reports from one again.
            warnings.filterwarnings("ignore", "The reported value is ignored")
            _tuner(settings, orders).fit()
    finally:
        _watch.reset(token)
    return watch.rows()


def _keep_keys_out_of_logs() -> None:
    """Tune hands the driver's AWS keys on to its trials, and Ray's agent logs what is handed on.

    Trials have what their machine has, as all other workers.
    """
    with suppress(ImportError, AttributeError):  # another version may not do so
        from ray.tune.execution import class_cache

        kept = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}
        class_cache.ENV_VARS_TO_PROPAGATE = kept


def _tuner(settings: TuneSettings, orders: Orders) -> Any:
    """A new search, or the one that was begun in this place."""
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, orders=orders), orders.share.of_tune
    )
    place = ray_storage(orders.storage)
    path = f"{place['storage_path']}/{_RUN_NAME}"
    filesystem = place.get("storage_filesystem")
    if tune.Tuner.can_restore(path, storage_filesystem=filesystem):
        return tune.Tuner.restore(
            path,
            trainable=trainable,
            resume_unfinished=True,
            restart_errored=True,
            storage_filesystem=filesystem,
        )
    return tune.Tuner(
        trainable,
        tune_config=_tune_config(settings, orders),
        run_config=tune.RunConfig(
            name=_RUN_NAME,
            verbose=0,
            callbacks=[Progress()],
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            **place,
        ),
    )


def _tune_config(settings: TuneSettings, orders: Orders) -> Any:
    epochs = orders.space.base.training.epochs
    sampler = optuna.samplers.TPESampler(seed=settings.seed, n_startup_trials=_RANDOM_TRIALS)
    return tune.TuneConfig(
        num_samples=settings.trials,
        # Importing torch takes longer than a short training. With Ray Train inside, a process
        # cannot be used again: it still waits for its workers when its trial is stopped.
        reuse_actors=orders.share.workers == 1,
        max_concurrent_trials=orders.share.concurrent,
        search_alg=OptunaSearch(
            orders.space,
            metric=ACCURACY,
            mode="max",
            sampler=sampler,
            points_to_evaluate=[orders.space.first()],
        ),
        scheduler=Halving(min(settings.grace_epochs, epochs), epochs),
        trial_dirname_creator=_trial_name,
    )


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)


class Halving(ASHAScheduler):
    """Asynchronous successive halving that lets the base setting train to its end.

    The others are compared with that. Tune does not keep it: after a kill the first of the trials
    that are left have nobody to be worse than.

    Args:
        grace: epochs before the first decision.
        epochs: of a whole training.
    """

    def __init__(self, grace: int, epochs: int) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=ACCURACY,
            mode="max",
            grace_period=grace,
            max_t=epochs,
            reduction_factor=_HALVING,
            # A trial ends by itself, with its workers.
            stop_last_trials=False,
        )

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """What becomes of a trial after an epoch."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if trial.config[NUMBER] == FIRST else decision


class Progress(tune.Callback):
    """A line for every trial that ends, and all trials at the end.

    Tune keeps it with the search, so it holds nothing itself.
    """

    def on_trial_complete(self, trial: Any, **_: Any) -> None:  # type: ignore[override]
        """It was trained to the end or stopped."""
        _watch.get().tell(trial, "")

    def on_trial_error(self, trial: Any, **_: Any) -> None:  # type: ignore[override]
        """It failed for good."""
        _watch.get().tell(trial, _failure(trial))

    def on_experiment_end(self, trials: list[Any], **_: Any) -> None:
        """The search is over, or was interrupted."""
        _watch.get().trials = list(trials)


@dataclass
class _Watch:
    """Who hears what a running search has to say.

    Attributes:
        console: where progress is told.
        judge: makes rows of trials.
        total: how many trials there will be.
        trials: at the end, all that were begun.
    """

    console: Console
    judge: Judge
    total: int
    trials: list[Any] = field(default_factory=list)

    def tell(self, trial: Any, failure: str) -> None:
        row = self.judge.row(trial.config, trial.last_result | {"done": True}, failure)
        self.console.print(literal(progress_line(row, self.total)), soft_wrap=True)

    def rows(self) -> list[TrialRow]:
        return [
            self.judge.row(trial.config, trial.last_result, _failure(trial))
            for trial in self.trials
        ]


_watch: ContextVar[_Watch] = ContextVar("watch")


def _failure(trial: Any) -> str:
    """Why a trial failed; nothing if it did not."""
    if trial.status != trial.ERROR:
        return ""
    error = trial.get_error()
    return last_line(error) if error else "its process died"
