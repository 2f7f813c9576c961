"""What transport brings a student: against its control, its rivals, and no teacher at all.

Run: ``uv run python tests/benchmarks/distillation.py --zoo FOLDER --data FOLDER``

Four tasks: flowers and clothing with the best-ranked of the real teachers in ``--zoo``, and ten
animals and ten vehicles of CIFAR-100 with the best-ranked of small teachers that are trained here
on eighty other classes. 30 labelled images a class, alone and with up to 200 unlabelled ones a
class. Every method trains the same student for the same number of images. Results are kept in
``--work``, one line a run, and a run that is there is not repeated: start it again to go on, with
other ``--tasks`` in several processes at once. ``--table`` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from scipy import stats

from rayxkd.assess import AssessSettings, assess
from rayxkd.distill import DistillSettings, TrainingSettings, TransportSettings, distill
from rayxkd.distill.gather import gather_task
from rayxkd.distill.loop import Training
from rayxkd.distill.prepare import Desk, find_student, find_teachers, prepare
from rayxkd.fleet.cluster import Cluster

Row = dict[str, Any]

LABELLED, UNLABELLED = 30, 200
STUDENT = "small_resnet8"
QUIET = Console(quiet=True)

ANIMALS = "bear cattle chimpanzee elephant fox leopard rabbit seal squirrel wolf"
VEHICLES = "bicycle bus lawn_mower motorcycle pickup_truck rocket streetcar tank tractor train"
NATURE = (
    "apple aquarium_fish bee beaver beetle butterfly camel caterpillar cloud cockroach crab "
    "crocodile dinosaur dolphin flatfish forest hamster kangaroo lion lizard lobster maple_tree "
    "mouse mushroom oak_tree orange orchid otter palm_tree pear pine_tree plain poppy porcupine "
    "possum raccoon ray rose sea shark shrew skunk snail snake spider sunflower sweet_pepper tiger "
    "trout tulip turtle whale willow_tree worm"
)
THINGS = (
    "bed bottle bowl bridge can castle chair clock couch cup house keyboard lamp mountain plate "
    "road skyscraper table telephone television wardrobe baby boy girl man woman"
)
TEACHERS = {"nature": NATURE, "things": THINGS, "both": f"{NATURE} {THINGS}"}


@dataclass(frozen=True)
class Target:
    """A task: where its images and its teachers are."""

    name: str
    folder: str
    classes: str = ""

    @property
    def selection(self) -> str:
        return f"classes={','.join(self.classes.split())}&" if self.classes else ""


TARGETS = (
    Target("flowers", "flowers"),
    Target("clothing", "clothing"),
    Target("animals", "cifar100", ANIMALS),
    Target("vehicles", "cifar100", VEHICLES),
)


def methods(tuned: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Settings by the name of the method; strengths were chosen on seed 0, which counts no more."""
    transport = TransportSettings(form="expected")
    return {
        "cross-entropy": {"objective": ("cross_entropy",)},
        "label smoothing": {
            "objective": ("label_smoothing",),
            "weight": (tuned["label smoothing"],),
        },
        "confidence penalty": {
            "objective": ("confidence_penalty",),
            "weight": (tuned["confidence penalty"],),
        },
        "transport": {"weight": (tuned["transport"],), "transport": transport},
        "transport, rows permuted": {
            "weight": (tuned["transport"],),
            "transport": replace(transport, permute_cost=True),
        },
        "sorted logits": {"objective": ("sorted_logits",), "weight": (tuned["sorted logits"],)},
        "probe, then distil": {"objective": ("probe",), "weight": (tuned["probe, then distil"],)},
    }


TUNED = {
    "label smoothing": 0.3,
    "confidence penalty": 0.1,
    "transport": 3.0,
    "sorted logits": 0.3,
    "probe, then distil": 3.0,
}
GRID: dict[str, tuple[float, ...]] = {
    "label smoothing": (0.1, 0.3),
    "confidence penalty": (0.1, 0.3),
    "transport": (1.0, 3.0, 6.0),
    "sorted logits": (0.3, 1.0),
    "probe, then distil": (1.0, 3.0),
}
PLAIN = {"cross-entropy", "label smoothing", "confidence penalty"}


@dataclass(frozen=True)
class Bench:
    """Where everything lies."""

    zoo: Path
    data: Path
    work: Path

    def make_teachers(self) -> Path:
        """Small teachers of CIFAR-100 classes that no task has, trained by our own loop."""
        folder = self.work / "cifar_zoo"
        for name, classes in TEACHERS.items():
            settings = DistillSettings(
                data=f"{self.data}/cifar100/train.parquet#classes={','.join(classes.split())}",
                out=str(folder / name),
                objective=("cross_entropy",),
                student="small_resnet14",
                training=TrainingSettings(batch_size=128),
                workers=0,
            )
            if not (folder / name / "config.json").exists():
                distill(settings, QUIET)
        return folder

    def board(self, target: Target, seed: int) -> str:
        """The leaderboard of the task's teachers on its labelled images."""
        out = self.work / f"{target.name}_{seed}" / "leaderboard"
        if not (out / "leaderboard.parquet").exists():
            repository = self.zoo if target.folder != "cifar100" else self.make_teachers()
            data = self.settings(target, seed).data
            assess(
                AssessSettings(repository=(str(repository),), probe=data, out=str(out), workers=0),
                QUIET,
            )
        return str(out)

    def settings(self, target: Target, seed: int, *, unlabelled: bool = False) -> DistillSettings:
        """The task's addresses."""
        train = (
            f"{self.data}/{target.folder}/train.parquet#{target.selection}seed={seed}&per_class="
        )
        chosen = target.selection.rstrip("&")
        test = f"{self.data}/{target.folder}/test.parquet" + (f"#{chosen}" if chosen else "")
        more = f"{train}{LABELLED}:{LABELLED + UNLABELLED}"
        return DistillSettings(
            data=f"{train}{LABELLED}",
            unlabelled=more if unlabelled else None,
            test=test,
            student=STUDENT,
            workers=0,
            training=TrainingSettings(seed=seed),
        )


@dataclass(frozen=True)
class Run:
    """One student."""

    target: Target
    seed: int
    unlabelled: bool
    method: str
    strength: float | None

    @property
    def key(self) -> str:
        regime = "unlabelled" if self.unlabelled else "labels"
        return f"{self.target.name}/{self.seed}/{regime}/{self.method}/{self.strength}"

    def train(self, bench: Bench) -> Row:
        """Train it and count what it gets right."""
        strengths = TUNED if self.strength is None else {**TUNED, self.method: self.strength}
        base = bench.settings(self.target, self.seed, unlabelled=self.unlabelled)
        settings = replace(base, **methods(strengths)[self.method])
        settings = replace(settings, leaderboard=bench.board(self.target, self.seed))
        start = time.monotonic()
        with Cluster() as cluster:
            task = gather_task(settings)
            teachers = find_teachers(settings, task)
            spec = find_student(settings, task)
            prepared = prepare(Desk(settings, cluster, QUIET), task, teachers, spec)
        if not settings.needs_teacher:  # as many images as the students of teachers see
            images = max(2_000 + len(task.training), settings.training.epoch_images)
            training = replace(settings.training, epoch_images=images)
            settings = replace(settings, training=training)
        trained = Training(settings, spec, prepared.material)
        while not trained.is_done:
            trained.train_epoch()
        assert prepared.material.test is not None
        return {
            "key": self.key,
            "task": self.target.name,
            "seed": self.seed,
            "unlabelled": self.unlabelled,
            "method": self.method,
            "strength": self.strength,
            "teacher": teachers[0].card.teacher if teachers else None,
            "correct": trained.correct(prepared.material.test),
            "images": len(prepared.material.test),
            "seconds": round(time.monotonic() - start, 1),
        }


def runs(seeds: Iterable[int], targets: Iterable[Target], *, tune: bool) -> Iterator[Run]:
    """Everything that is to be trained."""
    for seed in seeds:
        for target in targets:
            for unlabelled in (False, True):
                for method in methods(TUNED):
                    if unlabelled and method in PLAIN:
                        continue  # they do not look at images without label
                    grid = GRID.get(method, ()) if tune else (None,)
                    for strength in grid:
                        yield Run(target, seed, unlabelled, method, strength)


def table(rows: list[Row]) -> str:
    """Accuracies by task, their mean, and the gain over cross-entropy with a paired interval."""
    accuracy: dict[tuple[bool, str], dict[tuple[str, int], float]] = defaultdict(dict)
    for row in rows:
        method = row["method"] if row["strength"] is None else f"{row['method']} {row['strength']}"
        accuracy[row["unlabelled"], method][row["task"], row["seed"]] = (
            100 * row["correct"] / row["images"]
        )
    tasks = [target.name for target in TARGETS]
    lines = [f"| images | method | {' | '.join(tasks)} | mean | over cross-entropy |"]
    lines.append("|---" * (len(tasks) + 4) + "|")
    plain = accuracy[False, "cross-entropy"]
    for (unlabelled, method), found in sorted(accuracy.items(), key=lambda item: item[0][0]):
        by_task = [[v for (task, _), v in found.items() if task == name] for name in tasks]
        cells = [f"{np.mean(values):.1f}" if values else "" for values in by_task]
        shared = sorted(found.keys() & plain.keys())
        gains = np.array([found[key] - plain[key] for key in shared])
        regime = "labels and unlabelled" if unlabelled else "labels alone"
        mean = np.mean([np.mean(values) for values in by_task if values])
        lines.append(
            f"| {regime} | {method} | {' | '.join(cells)} | {mean:.1f} | {_interval(gains)} |"
        )
    return "\n".join(lines)


def _interval(gains: np.ndarray) -> str:
    """Mean and 95 % t-interval of paired differences over tasks and seeds."""
    if len(gains) < 2 or not gains.any():
        return ""
    low, high = stats.t.interval(0.95, len(gains) - 1, loc=gains.mean(), scale=stats.sem(gains))
    return f"{gains.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def read(work: Path) -> list[Row]:
    """All results."""
    return [
        json.loads(line)
        for file in sorted(work.glob("results*.jsonl"))
        for line in file.read_text().splitlines()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path, help="folder of real teachers")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--work", type=Path, default=Path(".bench/distillation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", nargs="+", default=[target.name for target in TARGETS])
    parser.add_argument("--tune", action="store_true", help="try every strength")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(options.threads)
        bench = Bench(options.zoo.resolve(), options.data.resolve(), options.work.resolve())
        options.work.mkdir(parents=True, exist_ok=True)
        chosen = [target for target in TARGETS if target.name in options.tasks]
        wanted = list(runs(options.seeds, chosen, tune=options.tune))
        for run in wanted:
            if run.key not in {row["key"] for row in read(options.work)}:
                row = run.train(bench)
                print(json.dumps(row), flush=True)
                with (options.work / f"results_{'_'.join(options.tasks)}.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print(table(read(options.work)))


if __name__ == "__main__":
    main()
