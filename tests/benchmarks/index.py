"""Do sketches find the best teachers, and how fast? The figures of the README, from nothing.

Run: ``uv run python -m tests.benchmarks.study --data FOLDER``, for a zoo and its truth, and then
``uv run python -m tests.benchmarks.index --data FOLDER --space ZOO/mobilenetv1_025_imagenet``

``shortlist``: on every task of the study, whether the teacher that is truly best (by students, by
linear probes, by the exhaustive scan's first rank) is among the fifth of the repository that an
index chooses, next to what one would choose by otherwise. The settings of sketches were chosen on
these tasks, so there are eight fresh ones, drawn when the settings stood: six of ten random
CIFAR-100 classes, and photographs of flowers and of clothing, with linear probes for truth (at one
ridge for all).

``speed``: 100,000 sketches, made of real ones by drawing their classes again with a little noise,
are written, read and ranked.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rayxkd.console import output_console
from rayxkd.data import EncodedImages
from rayxkd.sketches.build import build_index
from rayxkd.sketches.costs import sketched_costs_T
from rayxkd.sketches.settings import IndexSettings
from rayxkd.sketches.sketch import Sketch
from rayxkd.sketches.sketcher import sketch_columns
from rayxkd.sketches.space import Space, open_space
from rayxkd.sketches.store import IndexSpace, Known, SketchStore
from rayxkd.sketches.target import Target, make_target
from rayxkd.storage import Storage
from rayxkd.study import StudySettings
from rayxkd.study.interview import candidates
from rayxkd.study.rankers import rankers
from rayxkd.study.tasks import StudyTask, read_tasks
from rayxkd.study.truth import PROBE, STUDENT
from rayxkd.teachers import ProbePixels, load_teacher, predict
from rayxkd.transport import Predictions
from tests.benchmarks import study

Floats = NDArray[np.float64]
SHARE = 0.2
RIVALS = ("class overlap", "own accuracy", "parameters")
EXHAUSTIVE = ("learned",)
SEEDS = (0, 1, 2)
FRESH, FRESH_SEED = 6, 2026
SKETCHES = 100_000


def fresh_settings(data: Path, zoo: Path, out: Path) -> StudySettings:
    """Tasks by which nothing was chosen."""
    rng = np.random.default_rng(FRESH_SEED)
    every = [name for group in study.SUPERCLASSES.values() for name in group.split()]
    drawn = [",".join(rng.choice(every, 10, replace=False)) for _ in range(FRESH)]
    pools = [f"{data}/cifar100/train.parquet#classes={c}&{study.TASKS_IMAGES}" for c in drawn]
    tests = [f"{data}/cifar100/test.parquet#classes={c}" for c in drawn]
    for photographs in ("flowers", "clothing"):
        pools.append(f"{data}/{photographs}/train.parquet#per_class=100&seed=7")
        tests.append(f"{data}/{photographs}/test.parquet")
    names = tuple(f"random{number}" for number in range(1, FRESH + 1))
    return StudySettings(
        repository=(str(zoo),),
        data=tuple(pools),
        test=tuple(tests),
        names=(*names, "flowers", "clothing"),
        out=str(out),
    )


def ask_all(settings: StudySettings, tasks: list[StudyTask], console: Console) -> pa.Table:
    """Ask every teacher about the fresh tasks: a row a teacher and task; kept in ``--work``."""
    kept = Path(settings.out).with_suffix(".parquet")
    if kept.exists():
        return pq.read_table(kept)
    parts = [part for task in tasks for part in (task.pool, task.test)]
    pixels = [ProbePixels(part.images) for part in parts]
    rows = []
    for candidate in candidates(settings.repository)[0]:
        with candidate.repository.weights(candidate.card) as weights:
            teacher = load_teacher(candidate.card, weights, torch.device("cpu"))
        said = [predict(teacher, one) for one in pixels]
        for number, task in enumerate(tasks):
            pool, test = said[2 * number : 2 * number + 2]
            names = {name.lower() for name in candidate.card.label_names}
            rows.append(
                {
                    "teacher": candidate.card.teacher,
                    "task": task.name,
                    PROBE: probe_accuracy(pool, task.pool.labels_N, test, task.test.labels_N),
                    "class overlap": sum(name.lower() in names for name in task.class_names),
                    "own accuracy": candidate.card.own_accuracy or 0.0,
                    "parameters": float(teacher.parameters),
                }
            )
        console.print(f"asked {candidate}", highlight=False)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, kept)
    return table


def probe_accuracy(
    pool: Predictions,
    pool_labels_N: NDArray[np.int64],
    test: Predictions,
    test_labels_N: NDArray[np.int64],
) -> float:
    """Of a logistic regression on standardised features, at one ridge for all."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300, tol=1e-3))
    probe.fit(pool.embeddings_ND.numpy(), pool_labels_N)
    return float(probe.score(test.embeddings_ND.numpy(), test_labels_N))


def fresh_facts(settings: StudySettings, console: Console) -> Facts:
    """The fresh tasks, as :class:`Facts`."""
    tasks = read_tasks(settings)
    rows = ask_all(settings, tasks, console).to_pylist()
    teachers = list(dict.fromkeys(row["teacher"] for row in rows))
    column = {
        (task.name, name): np.array([row[name] for row in rows if row["task"] == task.name])
        for task in tasks
        for name in rows[0]
    }
    truth = {(PROBE, task.name): column[task.name, PROBE] for task in tasks}
    scores = {
        (name, task.name, seed): column[task.name, name]
        for name in RIVALS
        for task in tasks
        for seed in SEEDS
    }
    return Facts(tasks, teachers, truth, scores, settings)


def references(data: Path) -> dict[str, tuple[str, ...]]:
    """Sets of reference images, none of which is in a probe set of the study."""
    sets = ("cifar100", "fashion_mnist")
    return {
        "those that taught the teachers": tuple(
            f"{data}/{name}/train.parquet#{study.TEACHERS_IMAGES}" for name in sets
        ),
        "test images": tuple(f"{data}/{name}/test.parquet" for name in sets),
        "photographs of flowers and clothes": tuple(
            f"{data}/{name}/train.parquet#per_class=100:&seed=7" for name in ("flowers", "clothing")
        ),
    }


@dataclass(frozen=True)
class Facts:
    """A study as the benchmark needs it.

    Attributes:
        tasks: their images.
        teachers: T names.
        truth: by kind and task, mean accuracy [T].
        scores: by ranker, task and draw, higher is better, [T].
        settings: of the study.
    """

    tasks: list[StudyTask]
    teachers: list[str]
    truth: dict[tuple[str, str], Floats]
    scores: dict[tuple[str, str, int], Floats]
    settings: StudySettings

    @classmethod
    def read(cls, settings: StudySettings) -> Facts:
        """Read the tables of a finished study."""
        out = Path(settings.out)
        teachers = pq.read_table(out / "teachers.parquet")["teacher"].to_pylist()
        place = {name: row for row, name in enumerate(teachers)}
        truth: dict[tuple[str, str], Floats] = {}
        sums: dict[tuple[str, str], list[list[float]]] = {}
        for row in pq.read_table(out / "truth.parquet").to_pylist():
            if row["teacher"] is not None:
                key = (row["kind"], row["task"])
                cells = sums.setdefault(key, [[] for _ in teachers])
                cells[place[row["teacher"]]].append(row["accuracy"])
        truth = {key: np.array([np.mean(cell) for cell in cells]) for key, cells in sums.items()}
        known = rankers()
        scores: dict[tuple[str, str, int], Floats] = {}
        for row in pq.read_table(out / "scores.parquet").to_pylist():
            key = (row["ranker"], row["task"], row["seed"])
            sign = 1 if known[row["ranker"]].higher_is_better else -1
            scores.setdefault(key, np.empty(len(teachers)))[place[row["teacher"]]] = (
                sign * row["score"]
            )
        return cls(read_tasks(settings), teachers, truth, scores, settings)


class Places:
    """Probe images in a space; each is looked at once."""

    def __init__(self, network: Space) -> None:
        self._network = network
        self._features: dict[str, Floats] = {}

    def target(self, space: IndexSpace, task: StudyTask, rows: NDArray[np.int64]) -> Target:
        """The task by its images at these places."""
        digests = [task.pool.images.digests[row] for row in rows]
        new = [row for row, one in zip(rows, digests, strict=True) if one not in self._features]
        if new:
            images = EncodedImages.of([task.pool.images.encoded(int(row)) for row in new])
            found = self._network.features_NF(images)
            self._features |= dict(zip(images.digests, found, strict=True))
        features = np.stack([self._features[one] for one in digests])
        places = space.projection.places_ND(features)
        return make_target(places, task.pool.labels_N[rows], len(task.class_names))


def sketched(facts: Facts, known: Known, space: IndexSpace, places: Places) -> dict[Any, Floats]:
    """Scores of the index on every draw of every task: minus the sketched cost."""
    row_of = {teacher: row for row, (_, teacher) in enumerate(known.keys)}
    sketches = known.sketches([row_of[teacher] for teacher in facts.teachers])
    found = {}
    for task in facts.tasks:
        for seed in range(facts.settings.seeds):
            draw = task.draw(facts.settings.labelled, facts.settings.unlabelled, seed)
            target = places.target(space, task, draw.labelled_N)
            found[task.name, seed] = -sketched_costs_T(sketches, target)
    return found


def hits(facts: Facts, scores: Mapping[Any, Floats], truth: str) -> list[Floats]:
    """For every task that has this truth, and every draw: is the best in the shortlist?"""
    found = []
    for task in facts.tasks:
        of_task = []
        for seed in range(facts.settings.seeds):
            if (truth, task.name, seed) in facts.scores:
                best = facts.scores[truth, task.name, seed]
            elif (truth, task.name) in facts.truth:
                best = facts.truth[truth, task.name]
            else:
                continue
            size = int(SHARE * len(best))
            chosen = np.argsort(-scores[task.name, seed], kind="stable")[:size]
            of_task.append(float(best.argmax() in chosen))
        if of_task:
            found.append(np.array(of_task))
    return found


def wilson(successes: float, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); tasks are the cases, for their draws are alike."""
    z, share = 1.96, successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def cell(found: Sequence[Floats]) -> str:
    if not found:
        return ""
    of_tasks = [float(one.mean()) for one in found]
    low, high = wilson(sum(of_tasks), len(of_tasks))
    return f"{sum(of_tasks):g} of {len(of_tasks)} [{low:.0%}, {high:.0%}]".replace("%", "")


TRUTHS = (STUDENT, PROBE, *EXHAUSTIVE)


def shortlists(options: argparse.Namespace, console: Console) -> None:
    """The table of shortlists."""
    work, tasks = study.extent(options.study, small=options.small)
    zoo = work / "zoo"
    settings = study.settings(options.data, work, tasks, small=options.small)
    console.print("reading the study", highlight=False)
    groups = [("the study's tasks", Facts.read(settings))]
    fresh = fresh_settings(options.data, zoo, options.work / "fresh")
    groups.append(("fresh tasks", fresh_facts(fresh, console)))
    networks = {address: Places(open_space(address)) for address in options.space}
    scores = {title: {} for title, _ in groups}  # type: dict[str, dict[str, Mapping[Any, Floats]]]
    for address, places in networks.items():
        for number, (name, images) in enumerate(references(options.data).items()):
            out = str(options.work / f"{Path(address).name}_{number}")
            asked = IndexSettings(repository=(str(zoo),), reference=images, space=address, out=out)
            report = build_index(asked, console)
            console.print(f"{out}: {report}", highlight=False, soft_wrap=True)
            store = SketchStore(Storage.at(out))
            space = store.space()
            known = store.read(space)
            for title, facts in groups:
                label = f"index, {Path(address).name}, {name}"
                scores[title][label] = sketched(facts, known, space, places)
    for title, facts in groups:
        print_hits(title, facts, scores[title], console)


def print_hits(
    title: str, facts: Facts, scores: Mapping[str, Mapping[Any, Floats]], console: Console
) -> None:
    size = int(SHARE * len(facts.teachers))
    table = Table(
        title=f"{title}: the best is among {size} of {len(facts.teachers)}, 95 % interval"
    )
    for column in ("chosen by", *TRUTHS):
        table.add_column(column)
    draws = [(task.name, seed) for task in facts.tasks for seed in range(facts.settings.seeds)]
    rivals = {name: {key: facts.scores[name, key[0], key[1]] for key in draws} for name in RIVALS}
    for name, found in {**scores, **rivals}.items():
        table.add_row(name, *(cell(hits(facts, found, truth)) for truth in TRUTHS))
    table.add_row("random", *(f"{size / len(facts.teachers):.0%} of cases" for _ in TRUTHS))
    console.print(table)


def speed(options: argparse.Namespace, console: Console) -> None:
    """100,000 sketches: their size, and how long it takes to read and rank them."""
    number = f"{Path(options.space[0]).name}_0"
    store = SketchStore(Storage.at(str(options.work / number)))
    space = store.space()
    real = store.read(space).table.to_pylist()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        many = SketchStore(Storage.at(folder))
        many.begin(space, {})
        for start in range(0, SKETCHES, 5000):
            rows = [
                _resampled(real[rng.integers(len(real))], rng, start + row) for row in range(5000)
            ]
            many.append(rows, space)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        start_time = time.perf_counter()
        known = many.read(space)
        sketches = known.sketches()
        reading = time.perf_counter() - start_time
    work, tasks = study.extent(options.study, small=options.small)
    settings = study.settings(options.data, work, tasks[:1], small=options.small)
    (task,) = read_tasks(settings)
    network = open_space(options.space[0])
    start_time = time.perf_counter()
    target = Places(network).target(space, task, task.draw(30, 0, 0).labelled_N)
    looking = time.perf_counter() - start_time
    times, processor = [], []
    for _ in range(5):
        start_time, start_cpu = time.perf_counter(), time.process_time()
        costs_T = sketched_costs_T(sketches, target)
        np.argsort(costs_T, kind="stable")
        times.append(time.perf_counter() - start_time)
        processor.append(time.process_time() - start_cpu)
    console.print(
        f"{len(sketches):,} sketches of {len(sketches.mass_P):,} prototypes, {size / 1e6:.0f} MB: "
        f"read in {reading:.1f} s; ranked on one thread in {min(times):.2f} to {max(times):.2f} s "
        f"({np.median(processor):.2f} s of processor time); "
        f"{int(target.images_J.sum())} probe images brought into the space in {looking:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def _resampled(row: dict[str, Any], rng: np.random.Generator, number: int) -> dict[str, Any]:
    """A row like a real one: its classes are drawn again, with replacement, and moved a little.

    Without the noise the same numbers would come again and again, and fill no disk.
    """
    mass = np.array(row["mass"], np.float32)
    drawn = rng.integers(len(mass), size=len(mass))
    prototypes_PD = np.array(row["prototypes"], np.float32).reshape(len(mass), -1)[drawn]
    prototypes_PD *= 1 + 0.05 * rng.standard_normal(prototypes_PD.shape, np.float32)
    sketch = Sketch(
        prototypes_PD.astype(np.float16).astype(np.float32),
        mass[drawn] / mass[drawn].sum(),
        drawn.astype(np.int32),
        row["confidence"],
        row["information"],
    )
    name = f"resampled/{number}"
    return row | sketch_columns(sketch) | {"teacher": name, "made_at": datetime.now(UTC)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument(
        "--study", type=Path, default=Path(".bench/study"), help="what study.py made"
    )
    parser.add_argument("--work", type=Path, default=Path(".bench/index"))
    parser.add_argument("--space", nargs="+", default=["thumbnail"])
    parser.add_argument("--small", action="store_true", help="of the small study")
    parser.add_argument("--only", choices=("shortlist", "speed"))
    options = parser.parse_args()
    for name in ("data", "study", "work"):
        setattr(options, name, getattr(options, name).resolve())
    if options.small:
        options.work /= "small"
    options.work.mkdir(parents=True, exist_ok=True)
    console = output_console()
    if options.only != "speed":
        shortlists(options, console)
    if options.only != "shortlist":
        speed(options, console)


if __name__ == "__main__":
    main()
