"""What the transport benchmarks solve: real teachers' predictions, kept between runs.

Legend: N images, K teacher classes, M target classes, D features.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rayxkd.data import ProbeSet, open_image_set, sample_probe_set
from rayxkd.teachers import (
    ProbePixels,
    RejectedCard,
    Teacher,
    TeacherCard,
    load_teacher,
    open_repositories,
    predict,
    teacher_digest,
)
from rayxkd.transport import CooccurrenceCost, Predictions, TransportProblem

DATA_SETS = ("flowers", "clothing", "cifar100")
_RIDGE, _SHARPNESS = 100.0, 10.0


@dataclass(frozen=True)
class Case:
    """One teacher on one probe set.

    Attributes:
        data: name of the data set.
        teacher: name of the teacher's folder.
        predictions: on N images, on the CPU.
        labels_N: int64.
        num_classes: M.
        forward_seconds: of the teacher on all N images, without reading and resizing them.
    """

    data: str
    teacher: str
    predictions: Predictions
    labels_N: Tensor
    num_classes: int
    forward_seconds: float

    def problem(self, reference_NM: Tensor, temperature: float, device: str) -> TransportProblem:
        """To a reference, at the co-occurrence cost and in float64."""
        fitted = CooccurrenceCost(temperature).fit(
            self.predictions, self.labels_N, self.num_classes
        )
        source_NK = fitted.source_NK(self.predictions)
        return on_device(TransportProblem(source_NK, reference_NM, fitted.cost_KM), device)


def on_device(problem: TransportProblem, device: str) -> TransportProblem:
    return TransportProblem(
        problem.source_NK.to(device), problem.target_NM.to(device), problem.cost_KM.to(device)
    )


def rows_of(problem: TransportProblem, rows: Tensor | slice) -> TransportProblem:
    """Some of its samples."""
    return TransportProblem(problem.source_NK[rows], problem.target_NM[rows], problem.cost_KM)


def spread(total: int, wanted: int) -> Tensor:
    """Places of ``wanted`` samples, evenly spread over all: neighbours may be of one class."""
    return torch.arange(wanted) * total // wanted


def clock(device: str) -> Callable[[], float]:
    """Of this process's processor time with one thread: others on the machine do not count in it.

    Wall time with more threads or a GPU.
    """
    if device == "cpu" and torch.get_num_threads() == 1:
        return time.process_time
    return time.perf_counter


def seconds(
    run: Callable[[], Any], device: str = "cpu", *, repeats: int = 3, warm: bool = True
) -> float:
    """Median time of a call, by :func:`clock`."""
    wait: Callable[[], Any] = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    now, taken = clock(device), []
    for _ in range(repeats + warm):
        wait()
        start = now()
        run()
        wait()
        taken.append(now() - start)
    return statistics.median(taken[warm:])


def student_reference(case: Case) -> Tensor:
    """What a student might say: softmax of a ridge probe fitted on every other image, [N, M]."""
    known_ND = case.predictions.embeddings_ND
    scaled_ND = (known_ND - known_ND.mean(dim=0)) / known_ND.std(dim=0).clamp_min(1e-6)
    one_hot_NM = torch.nn.functional.one_hot(case.labels_N, case.num_classes).double()
    half_BD = scaled_ND[::2]
    gram_BB = half_BD @ half_BD.T + _RIDGE * torch.eye(len(half_BD), dtype=torch.float64)
    dual_BM = torch.linalg.solve(gram_BB, one_hot_NM[::2] - 1 / case.num_classes)
    return torch.softmax(_SHARPNESS * scaled_ND @ (half_BD.T @ dual_BM), dim=1)


def another(cases: list[Case], case: Case) -> Case:
    """A case of the same data set with another teacher: the student's features come from it."""
    others = [o for o in cases if o.data == case.data and o.teacher != case.teacher]
    if not others:
        raise SystemExit("the student's features need a second teacher in --zoo")
    return others[0]


def load_cases(zoo: Path, data: Path, cache: Path, samples: int, device: str) -> list[Case]:
    """Every teacher of the zoo on every data set; computed once for a cache folder."""
    (repository,) = open_repositories([str(zoo)])
    cards = [card for card in repository.cards() if not isinstance(card, RejectedCard)]
    cases = []
    for name in DATA_SETS:
        images = data / name / "train.parquet"
        probe = _Probe(images, samples)
        for card in cards:
            with repository.weights(card) as weights:
                digest = teacher_digest(card, weights)
                stored = cache / f"{_key(images, samples, digest, device)}.pt"
                if not stored.is_file():
                    print(f"predicting: {card.teacher} on {name}", flush=True)
                    teacher = load_teacher(card, weights, torch.device(device))
                    cache.mkdir(parents=True, exist_ok=True)
                    torch.save(_predicted(teacher, probe), stored)
            cases.append(_case(name, card, torch.load(stored, weights_only=True)))
    return cases


class _Probe:
    """A probe set that is read when a teacher first asks for it."""

    def __init__(self, images: Path, samples: int) -> None:
        self._images, self._samples = images, samples
        self._read: tuple[ProbeSet, ProbePixels] | None = None

    def read(self) -> tuple[ProbeSet, ProbePixels]:
        if self._read is None:
            probe = sample_probe_set(open_image_set(str(self._images)), self._samples, seed=0)
            self._read = probe, ProbePixels(probe)
        return self._read


def _predicted(teacher: Teacher, lazy: _Probe) -> dict[str, Any]:
    probe, pixels = lazy.read()
    # Decodes and resizes all images, and warms the teacher up.
    first = pixels.batch(teacher.card.preprocessing, slice(0, 32))
    with torch.inference_mode():
        teacher.forward(first.to(teacher.device, memory_format=teacher.memory_format))
    predictions: list[Predictions] = []
    device = teacher.device.type
    taken = seconds(
        lambda: predictions.append(predict(teacher, pixels)), device, repeats=1, warm=False
    )
    return {
        "logits": predictions[0].logits_NK,
        "features": predictions[0].features_ND,
        "head": predictions[0].head_KD,
        "labels": torch.tensor(probe.labels_N),
        "num_classes": probe.num_classes,
        "forward_seconds": taken,
    }


def _case(data: str, card: TeacherCard, stored: dict[str, Any]) -> Case:
    return Case(
        data,
        card.teacher.rpartition("/")[2],
        Predictions(stored["logits"], stored["features"], stored["head"]),
        stored["labels"],
        stored["num_classes"],
        stored["forward_seconds"],
    )


def _key(images: Path, samples: int, teacher: str, device: str) -> str:
    """Of everything that the stored predictions and their time depend on, threads included."""
    about = images.stat()
    what = (str(images.resolve()), about.st_size, about.st_mtime_ns, samples, teacher, device)
    return hashlib.sha256(repr((*what, torch.get_num_threads())).encode()).hexdigest()[:24]
