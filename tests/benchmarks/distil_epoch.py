"""What a teacher adds to an epoch, where its predictions are known before.

Run: ``uv run python tests/benchmarks/distil_epoch.py --leaderboard LB --data IMAGES``

The same student trains on the same images with every objective in turn, several times over, so
that whatever else the machine does strikes all alike; the fastest epoch of each counts. Times are
those of the process. The teachers are asked first, which does not count.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from rayxkd.distill import DistillSettings, TrainingSettings
from rayxkd.distill.gather import gather_task
from rayxkd.distill.loop import Training
from rayxkd.distill.prepare import Desk, find_student, find_teachers, prepare
from rayxkd.distill.settings import OBJECTIVES
from rayxkd.fleet.cluster import Cluster


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leaderboard", required=True)
    parser.add_argument("--data", required=True, help="labelled images of the leaderboard's task")
    parser.add_argument("--student", default="small_resnet8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = DistillSettings(
        leaderboard=options.leaderboard,
        data=options.data,
        student=options.student,
        workers=0,
        training=TrainingSettings(epochs=options.rounds),
    )
    task = gather_task(settings)
    teachers = find_teachers(settings, task)
    spec = find_student(settings, task)
    with Cluster() as cluster:
        desk = Desk(settings, cluster, Console())
        material = prepare(desk, task, teachers, spec).material
    # The plain one sees as many images a step; its labelled share is what it would have alone.
    trainings = {
        name: Training(replace(settings, objective=(name,)), spec, material) for name in OBJECTIVES
    }
    images = max(len(task.training), settings.training.epoch_images)
    plain = replace(
        settings,
        objective=("cross_entropy",),
        training=replace(settings.training, epoch_images=images),
    )
    trainings["cross_entropy"] = Training(plain, spec, material)
    best = dict.fromkeys(trainings, float("inf"))
    for _ in range(options.rounds):
        for name, training in trainings.items():
            start = time.process_time()
            training.train_epoch()
            best[name] = min(best[name], time.process_time() - start)
    print(f"{Path(options.data).name}: {images} images an epoch, {spec.name}")
    print("| objective | seconds an epoch | over cross-entropy |\n|---|---|---|")
    for name, seconds in best.items():
        print(f"| {name} | {seconds:.2f} | {seconds / best['cross_entropy']:.3f} |")


if __name__ == "__main__":
    main()
