"""Time and memory of every score, against the teacher's forward pass on the same images.

Run: ``uv run python tests/benchmarks/metric_costs.py --zoo FOLDER --probe IMAGES``

One thread; the median of ``--rounds`` for times, all scores in turn in each round, so that whatever
else the machine does strikes all alike; the highest peak above the inputs for memory (Linux). The
forward pass is that of one teacher in the same process, decoding included.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transport_memory import PeakMemory

from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.study.rankers import Question, rankers
from rayxkd.study.said import Interviewed
from rayxkd.teachers import (
    ProbePixels,
    TeacherCard,
    load_teacher,
    open_repositories,
    predict,
)

SKIPPED = {"trivial", "control"}


def measured(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and MiB at the peak above what was in use."""
    memory = PeakMemory("cpu")
    memory.start()
    start = time.perf_counter()
    act()
    return time.perf_counter() - start, memory.mib()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--probe", required=True, help="labelled images")
    parser.add_argument("--teacher", default="mobilenetv2_imagenet")
    parser.add_argument("--probe-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    probe = sample_probe_set(open_image_set(options.probe), options.probe_size, 0)
    (repository,) = open_repositories([str(options.zoo)])
    (card,) = (
        card
        for card in repository.cards()
        if isinstance(card, TeacherCard) and card.folder == options.teacher
    )
    with repository.weights(card) as weights:
        teacher = load_teacher(card, weights, torch.device("cpu"))
    found = []
    forward = measured(lambda: found.append(predict(teacher, ProbePixels(probe))))
    labels_N = torch.from_numpy(np.array(probe.labels_N))
    student_UM = torch.softmax(found[0].logits_NK[:, : probe.num_classes].double(), dim=1)
    interviewed = Interviewed(card.teacher, "0" * 64, card.label_names, teacher.parameters, None)
    asked = Question(interviewed, found[0], labels_N, probe.class_names, 0, found[0], student_UM)
    spent: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, ranker in rankers().items():
            if ranker.group not in SKIPPED:
                spent[name].append(measured(lambda ranker=ranker: ranker.score(asked)))  # type: ignore[misc]
    shape = f"N = {len(probe)}, K = {card.num_classes}, M = {probe.num_classes}"
    print(f"{card.teacher}, {shape}; forward pass {forward[0]:.1f} s, {forward[1]:.0f} MiB")
    print("| score | milliseconds | of the forward pass | MiB |\n|---|---|---|---|")
    for name, rounds in spent.items():
        seconds = float(np.median([one for one, _ in rounds]))
        mib = max(one for _, one in rounds)
        print(f"| {name} | {1000 * seconds:.1f} | {seconds / forward[0]:.3%} | {mib:.0f} |")


if __name__ == "__main__":
    main()
