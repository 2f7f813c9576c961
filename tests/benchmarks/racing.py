"""Does a race find the teacher that the exhaustive scan finds, and what does it spare?

Run: ``uv run python -m tests.benchmarks.racing --data FOLDER --study FOLDER``

Takes what the teachers of ``tests/benchmarks/study.py`` said of its tasks' images, draws probe sets
of the scan's default size from each task's pool and test images, and races the teachers on them, in
several orders of the images. Nothing is asked again: a race on stored predictions decides as a scan
does. The four tasks on which the study chose its default score served to choose the race's
constants too (``--tasks chosen``); the others are reported. Repetitions are kept in ``--keep`` and
not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from rayxkd.assess.racing.bound import standing, values
from rayxkd.assess.racing.heat import image_costs, judge
from rayxkd.assess.racing.order import race_order
from rayxkd.assess.racing.plan import Plan
from rayxkd.assess.racing.race import Heat, Race
from rayxkd.data.probe import stratified_sample
from rayxkd.storage import Storage
from rayxkd.study.interview import TEACHERS
from rayxkd.study.ledger import Ledger
from rayxkd.study.said import Interviewed, Words
from rayxkd.study.tasks import StudyTask, read_tasks
from rayxkd.transport import LearnedCost, Predictions, TransportScore
from rayxkd.transport.costs.base import one_hot_NM
from tests.benchmarks.study import CHOSEN_ON, settings, targets

Places = NDArray[np.int64]
COST = LearnedCost()
CLOSE = 0.01  # nats


@dataclass(frozen=True)
class Repetition:
    """One race, beside the exhaustive scan of the same images."""

    task: str
    draw: int
    order: int
    teachers: int
    images: int
    budget: float
    same: bool
    excess: float
    inside: bool
    runner_up: float
    share: float
    claimed: float
    missed: float
    by_interval: int
    by_rank: int
    covered: float


class Drawn:
    """One probe set of a task, and what all teachers said of it."""

    def __init__(
        self, said: dict[str, Predictions], labels: NDArray[np.int64], places: Places
    ) -> None:
        self.labels_N = torch.from_numpy(labels[places])
        self._classes = int(labels.max()) + 1
        self._said = {name: one.rows(torch.from_numpy(places)) for name, one in said.items()}

    @cached_property
    def exhaustive(self) -> dict[str, NDArray[np.float64]]:
        """Cost of every image of every teacher, as the exhaustive scan has it."""
        reference_NM = one_hot_NM(self.labels_N, self._classes)
        return {
            name: image_costs(COST, one, self.labels_N, reference_NM, folds=5)
            for name, one in self._said.items()
        }

    def heat(self, name: str, part: NDArray[np.int64]) -> Heat:
        rows = torch.from_numpy(np.sort(part))
        labels_P = self.labels_N[rows]
        reference_PM = one_hot_NM(labels_P, self._classes)
        return judge(COST, self._said[name].rows(rows), labels_P, reference_PM)


def run(task: str, drawn: Drawn, draw: int, order: int, budget: float) -> Repetition:
    """Race once, and compare."""
    costs = drawn.exhaustive
    final = {name: float(cost_N.mean()) for name, cost_N in costs.items()}
    images = len(drawn.labels_N)
    classes = int(drawn.labels_N.max()) + 1
    race = Race(
        Plan.of(len(final), images, classes, int(budget * len(final) * images), keep=1), list(final)
    )
    order_N = race_order(drawn.labels_N.numpy(), order)
    covered = float("nan")
    while not race.is_over:
        if race.is_last_round:
            race.close({name: Heat(costs[name], costs[name]) for name in race.contenders})
            continue
        heats = {name: drawn.heat(name, order_N[: race.images]) for name in race.contenders}
        if race.account.rounds == 0:
            covered = coverage(heats, costs)
        race.close(heats)
    best, second = sorted(final, key=final.__getitem__)[:2]
    winner = min(race.contenders, key=final.__getitem__)
    _, high = TransportScore(torch.from_numpy(costs[best]), 1.0, True).interval()
    account = race.account
    return Repetition(
        task, draw, order, len(final), images, budget,
        same=winner == best,
        excess=final[winner] - final[best],
        inside=final[winner] <= high,
        runner_up=final[second] - final[best],
        share=account.share,
        claimed=account.claimed_error,
        missed=account.missed,
        by_interval=account.by_interval,
        by_rank=account.by_rank,
        covered=covered,
    )  # fmt: skip


def coverage(heats: dict[str, Heat], costs: dict[str, NDArray[np.float64]]) -> float:
    """Share of all pairs of teachers whose true gap lies in its 95 % interval."""
    names, images = list(heats), len(next(iter(costs.values())))
    value_TP = values(
        np.stack([heats[name].cost_P for name in names]),
        np.stack([heats[name].coarse_P for name in names]),
        images,
    )
    final_T = np.array([costs[name].mean() for name in names])
    inside = []
    for pair in itertools.combinations(range(len(names)), 2):
        now = standing(value_TP[list(pair)], 1, images)
        worse = 1 - int(now.leaders_L[0])
        gap = final_T[pair[worse]] - final_T[pair[1 - worse]]
        wide = stats.t.isf(0.025, value_TP.shape[1] - 1) * now.deviation_T[worse]
        inside.append(abs(gap - now.gap_T[worse]) <= wide)
    return float(np.mean(inside))


def teachers_of(study: Path) -> list[Interviewed]:
    table = Ledger(Storage.at(str(study)), "teachers", TEACHERS)
    rows = table.read(table.done()).to_pylist()
    return [
        Interviewed(
            row["teacher"],
            row["digest"],
            tuple(row["class_names"]),
            row["parameters"],
            row["own_accuracy"],
        )
        for row in sorted(rows, key=lambda row: row["teacher"])
        if row["status"] == "ok"
    ]


def said_of(tasks: Sequence[StudyTask], study: Path) -> dict[str, dict[str, Predictions]]:
    """What every teacher said of each task's pool, then of its test images, by task."""
    words = Words(Storage.at(str(study)).child("predictions"))
    found: dict[str, dict[str, Predictions]] = {task.name: {} for task in tasks}
    for teacher in teachers_of(study):
        for task in tasks:
            parts = [words.predictions(teacher, part.images) for part in (task.pool, task.test)]
            logits_NK = torch.cat([part.logits_NK for part in parts])
            found[task.name][teacher.teacher] = Predictions(logits_NK)
    return found


def repetitions(tasks: Sequence[StudyTask], options: argparse.Namespace) -> Iterator[Repetition]:
    """All of them, the first of every task first; those that are kept are not done again."""
    budget, done = options.share / 100, {}
    if options.keep and options.keep.exists():
        lines = options.keep.read_text().splitlines()
        kept = [Repetition(**json.loads(line)) for line in lines]
        done = {(one.task, one.draw, one.order, one.budget, one.images): one for one in kept}
    said: dict[str, dict[str, Predictions]] = {}
    for draw, task in itertools.product(range(options.draws), tasks):
        drawn = None
        for order in range(options.orders):
            key = (task.name, draw, order, budget, options.probe_size)
            if key not in done and not options.kept_only:
                said = said or said_of(tasks, options.study)
                drawn = drawn or draw_of(task, said[task.name], options.probe_size, draw)
                done[key] = run(task.name, drawn, draw, order, budget)
                if options.keep:
                    with options.keep.open("a") as file:
                        file.write(json.dumps(asdict(done[key])) + "\n")
            if key in done:
                yield done[key]


def draw_of(task: StudyTask, said: dict[str, Predictions], size: int, draw: int) -> Drawn:
    labels = np.concatenate([task.pool.labels_N, task.test.labels_N])
    return Drawn(said, labels, stratified_sample(labels, size, draw))


COLUMNS = (
    *("task", "teachers", "races", "same top-1", f"within {CLOSE} nats"),
    *("in the leader's interval", "images", "claimed error", "missed", "out by interval"),
    *("out by budget", "coverage of 95 %", "lead of the best (nats)"),
)


def row_of(name: str, rows: Sequence[Repetition]) -> tuple[str, ...]:
    def mean(field: str) -> float:
        return float(np.mean([getattr(row, field) for row in rows]))

    return (
        name,
        str(rows[0].teachers),
        str(len(rows)),
        f"{mean('same'):.1%}",
        f"{np.mean([row.excess <= CLOSE for row in rows]):.1%}",
        f"{mean('inside'):.1%}",
        f"{mean('share'):.1%} (at most {max(row.share for row in rows):.1%})",
        f"{mean('claimed'):.1%}",
        f"{1 - mean('same'):.1%}",
        f"{mean('by_interval'):.1f}",
        f"{mean('by_rank'):.1f}",
        f"{np.nanmean([row.covered for row in rows]):.1%}",
        f"{np.median([row.runner_up for row in rows]):.3f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--study", type=Path, default=Path(".bench/study/study"))
    parser.add_argument("--tasks", default="others", help="chosen, others, or names, with commas")
    parser.add_argument("--draws", type=int, default=25, help="probe sets a task")
    parser.add_argument("--orders", type=int, default=4, help="races on each probe set")
    parser.add_argument("--share", type=float, default=30, help="budget, %% of the images")
    parser.add_argument("--probe-size", type=int, default=512)
    parser.add_argument("--keep", type=Path, help="file of repetitions that are done")
    parser.add_argument("--kept-only", action="store_true", help="only show what is kept")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    asked = settings(options.data.resolve(), options.study.parent, targets(), small=False)
    wanted = {
        "chosen": set(CHOSEN_ON),
        "others": set(asked.task_names) - set(CHOSEN_ON),
    }.get(options.tasks, set(options.tasks.split(",")))
    found: dict[str, list[Repetition]] = {}
    tasks = [task for task in read_tasks(asked) if task.name in wanted]
    with torch.inference_mode():
        for row in repetitions(tasks, options):
            found.setdefault(row.task, []).append(row)
    every = [row for rows in found.values() for row in rows]
    lines = [row_of(name, rows) for name, rows in found.items()] + [row_of("all", every)]
    if options.markdown:
        for line in (COLUMNS, ["---"] * len(COLUMNS), *lines):
            print("| " + " | ".join(line) + " |")
        return
    table = Table(*COLUMNS)
    for line in lines:
        table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()
