"""The training of one student, epoch by epoch; knows neither Ray nor files.

Legend: B images of a batch (of this worker), M target classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rayxkd.data.views import random_view
from rayxkd.distill.material import LabelledImages, Material
from rayxkd.distill.objectives import (
    Batch,
    CrossEntropy,
    Objective,
    StudentSays,
    TeacherSays,
    make_objective,
)
from rayxkd.distill.pixels import ViewedPixels, augmented
from rayxkd.distill.plan import EpochPlan
from rayxkd.distill.settings import DistillSettings, TrainingSettings
from rayxkd.distill.students import StudentNetwork, StudentSpec, build_student
from rayxkd.teachers.preprocess import normalised

_CROSS_ENTROPY = "cross_entropy"
_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Place:
    """Which part of the work this process does, and where.

    Attributes:
        rank: number of this worker.
        workers: how many there are.
        device: where it computes.
        wrap: what makes workers train together, such as ``DistributedDataParallel``.
    """

    rank: int = 0
    workers: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network


class AskTeachers(Protocol):
    """Asks every teacher about views of training images, anew in every step."""

    def __call__(
        self, places_B: NDArray[np.int64], views: Sequence[Any]
    ) -> tuple[TeacherSays, ...]:
        """What each teacher says."""


class Training:
    """A student, and all that changes while it learns.

    Attributes:
        history: one row an epoch: losses, learning rate, accuracies.
    """

    def __init__(
        self,
        settings: DistillSettings,
        spec: StudentSpec,
        material: Material,
        place: Place | None = None,
        ask: AskTeachers | None = None,
    ) -> None:
        """Build the student and fit what its objectives need.

        Args:
            settings: of the whole distillation.
            spec: the student.
            material: images and what the teachers said of them.
            place: this worker.
            ask: for ``teacher_pass="online"``.
        """
        self.history: list[dict[str, float]] = []
        self._settings, self._spec, self._material = settings, spec, material
        self._place, self._ask = place or Place(), ask
        device, training = self._place.device, settings.training
        self._plan = _plan(settings, material)
        torch.manual_seed(training.seed)
        self.student = build_student(spec).to(device).to(memory_format=torch.channels_last)
        self._network = self._place.wrap(self.student)
        self._average = _average(self.student, training.ema)
        self._optimizer = _optimizer(self.student, training)
        self._schedule = _schedule(self._optimizer, training, self._plan.steps)

    # What only training needs is made when it begins: a finished student is opened without.

    @cached_property
    def _objectives(self) -> nn.ModuleDict:
        online = self._ask is not None
        made = _objectives(self._settings, self._material, online=online)
        return made.to(self._place.device)

    @cached_property
    def _pixels(self) -> ViewedPixels:
        views = 1 if self._ask else self._material.views
        return ViewedPixels(self._material.training.images, self._spec.preprocessing, views)

    @cached_property
    def _watched(self) -> dict[str, ViewedPixels]:
        parts = {"validation": self._material.validation, "test": self._material.test}
        return {
            name: ViewedPixels(images.images, self._spec.preprocessing)
            for name, images in parts.items()
            if images is not None
        }

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    @property
    def is_done(self) -> bool:
        """Whether all are."""
        return self.epoch >= self._settings.training.epochs

    @property
    def network(self) -> StudentNetwork:
        """The network that counts: the average, where one is kept."""
        averaged = self.student if self._average is None else self._average.module
        return cast(StudentNetwork, averaged)

    def train_epoch(self) -> dict[str, float]:
        """One more epoch; returns its row of the history."""
        epoch = self.epoch
        _ = self._objectives  # made before the seed is set: some draw random numbers
        views_rng = self._plan.rng(epoch, 1 + self._place.rank)
        torch.manual_seed(int(views_rng.integers(2**31)))
        self._network.train()
        totals: dict[str, float] = {}
        for places in self._plan.batches(epoch):
            mine = places[self._place.rank :: self._place.workers]
            images_BCHW, batch = self._batch(mine, views_rng)
            losses = self._step(images_BCHW, batch)
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + float(loss)
        row = {name: total / self._plan.steps for name, total in totals.items()}
        rate = float(self._schedule.get_last_lr()[0])
        row = {"epoch": epoch + 1, "learning_rate": rate, **row, **self._watch()}
        self.history.append(row)
        return self.history[-1]

    def correct(self, images: LabelledImages) -> int:
        """How many images the student labels rightly."""
        answers_N = self.logits_NM(images).argmax(dim=1)
        return int((answers_N == torch.from_numpy(images.labels_N)).sum())

    def logits_NM(self, images: LabelledImages) -> Tensor:
        """What the student says of images, on the CPU."""
        return self._logits(ViewedPixels(images.images, self._spec.preprocessing))

    def state(self) -> dict[str, Any]:
        """All that :meth:`load` needs, tensors on their device."""
        return {
            "digest": self._settings.digest(),
            "student": self.student.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": self.history,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.student.load_state_dict(state["student"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.history = list(state["history"])

    def _batch(self, places: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Batch]:
        labels_B = torch.from_numpy(self._material.training.labels_N[places])
        if self._ask is None:
            numbers = rng.integers(0, self._material.views, size=len(places))
            pixels = self._pixels.fixed(places, numbers)
            said = self._said(places * self._material.views + numbers)
        else:
            views = [random_view(rng) for _ in places]
            pixels = self._pixels.at(places, views)
            said = self._ask(places, views)
        pixels = augmented(pixels, self._settings.training.augment, rng)
        device = self._place.device
        images = pixels.to(device, memory_format=torch.channels_last)
        return normalised(images, self._spec.preprocessing), Batch(labels_B.to(device), said)

    def _said(self, rows: NDArray[np.int64]) -> tuple[TeacherSays, ...]:
        device = self._place.device
        return tuple(
            TeacherSays.on(device, *taught.said.rows(rows).tensors())
            for taught in self._material.faculty
        )

    def _step(self, images_BCHW: Tensor, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimiser; returns the loss and its terms."""
        training, device = self._settings.training, self._place.device.type
        with torch.autocast(device, torch.bfloat16, training.amp and device == "cuda"):
            student = StudentSays(*self._network(images_BCHW))
        terms = {name: objective(student, batch) for name, objective in self._named_objectives()}
        loss = sum(
            (weight * terms[name] for name, weight in self._weights()), terms[_CROSS_ENTROPY]
        )
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), training.clip)
        self._optimizer.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self.student)
        return {"loss": loss.detach()} | {f"loss_{n}": term.detach() for n, term in terms.items()}

    def _named_objectives(self) -> list[tuple[str, Objective]]:
        return [(name, module) for name, module in self._objectives.items()]  # type: ignore[misc]

    def _weights(self) -> list[tuple[str, float]]:
        pairs = zip(self._settings.objective, self._settings.weights, strict=True)
        return [(name, weight) for name, weight in pairs if name != _CROSS_ENTROPY]

    def _watch(self) -> dict[str, float]:
        """Accuracy on what is watched: validation at every epoch, test now and then."""
        row = {}
        for name, pixels in self._watched.items():
            if name == "test" and not self._looks_at_test():
                continue
            images = getattr(self._material, name)
            right = self._logits(pixels).argmax(dim=1) == torch.from_numpy(images.labels_N)
            row[f"accuracy_{name}"] = float(right.float().mean())
        return row

    def _looks_at_test(self) -> bool:
        """About twenty times: it is there for the learning curve, nothing is chosen by it."""
        done, epochs = self.epoch + 1, self._settings.training.epochs
        return done == epochs or done % max(1, epochs // 20) == 0

    @torch.inference_mode()
    def _logits(self, pixels: ViewedPixels) -> Tensor:
        network = self.network.eval()
        parts = []
        for places in np.array_split(
            np.arange(len(pixels)), max(1, math.ceil(len(pixels) / _EVALUATION_BATCH))
        ):
            batch = pixels.fixed(places, np.zeros_like(places)).to(self._place.device)
            logits, _ = network(normalised(batch, self._spec.preprocessing))
            parts.append(logits.float().cpu())
        return torch.cat(parts)


def _plan(settings: DistillSettings, material: Material) -> EpochPlan:
    training, labelled = settings.training, material.training.num_labelled
    return EpochPlan(
        labelled,
        len(material.training) - labelled if settings.needs_teacher else 0,
        training.batch_size,
        training.labelled_share,
        training.epoch_images,
        training.seed,
    )


def _objectives(settings: DistillSettings, material: Material, *, online: bool) -> nn.ModuleDict:
    lessons = material.lessons(1 if online else material.views)
    modules: dict[str, nn.Module] = {_CROSS_ENTROPY: CrossEntropy()}
    for name in settings.objective:
        if name != _CROSS_ENTROPY:
            modules[name] = make_objective(name, settings, lessons)
    return nn.ModuleDict(modules)


def _optimizer(student: nn.Module, training: TrainingSettings) -> torch.optim.Optimizer:
    """Matrices and kernels decay; biases and the scales of norms do not."""
    parameters = [p for p in student.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.peak_rate)
    return torch.optim.SGD(groups, lr=training.peak_rate, momentum=0.9, nesterov=True)


def _schedule(
    optimizer: torch.optim.Optimizer, training: TrainingSettings, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    total = steps * training.epochs
    rising = max(1, round(training.warmup * total))

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / rising) * (1 + math.cos(math.pi * step / total)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _average(student: nn.Module, decay: float) -> AveragedModel | None:
    """Exponential averages of weights and statistics, faster at the beginning."""
    if decay == 0:
        return None

    @torch.no_grad()
    def update(averages: Any, currents: Any, count: Any) -> None:
        share = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        if torch.is_floating_point(averages[0]):
            torch._foreach_lerp_(averages, currents, share)
        else:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)

    return AveragedModel(student, multi_avg_fn=update, use_buffers=True)
