"""What a study, and a zoo for it, are asked to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rayxkd.distill.settings import DistillSettings, TrainingSettings, TransportSettings
from rayxkd.errors import UserError, unknown_name
from rayxkd.secrets import recordable

# Raised when results change, so that those of before are not mixed with those of after.
_METHOD_VERSION = 1
_TRANSPORT = TransportSettings()
_TRAINING = TrainingSettings(epochs=8)
# What decides how, not what, is computed.
_HOW = frozenset({"out", "workers", "fresh", "trust_code", "chosen_on"})


@dataclass(frozen=True, kw_only=True)
class ZooSettings:
    """What a zoo is made of: the options of ``jobs/study.py zoo``.

    Every teacher gets one value of each list; lists are dealt out in shuffled turns, each on its
    own, so that relatedness and quality vary independently.

    Attributes:
        data: Labelled images that teachers learn from.
        out: Folder of the teachers.
        targets: Image sets of target tasks; only their class names are looked at.
        test: Labelled images that tell how good each teacher is on its own classes.
        teachers: How many.
        overlap: Share of one target task's classes that a teacher knows.
        classes: How many classes a teacher has.
        networks: Which networks.
        widths: Channels of their first stage.
        epochs: How long they are trained.
        label_noise: Share of training images with a wrong label.
        seed: Of classes, noise, weights and order.
        workers: How many at a time; by default what the machines hold; 0 works in this process.
    """

    data: str
    out: str
    targets: tuple[str, ...] = ()
    test: str | None = None
    teachers: int = 30
    overlap: tuple[float, ...] = (0.0, 0.3, 0.7, 1.0)
    classes: tuple[int, ...] = (10, 20, 40)
    networks: tuple[str, ...] = ("small_resnet8", "small_resnet14")
    widths: tuple[int, ...] = (8, 16, 24)
    epochs: tuple[int, ...] = (3, 10, 25)
    label_noise: tuple[float, ...] = (0.0, 0.0, 0.5)
    seed: int = 0
    workers: int | None = None

    def check(self) -> None:
        """Refuse what cannot be right, before anything is started.

        Raises:
            UserError: the first that is wrong.
        """
        from rayxkd.teachers.networks import NETWORKS

        for name in self.networks:
            if name not in NETWORKS:
                raise unknown_name("network", name, NETWORKS)
        lists: dict[str, tuple[Sequence[float], float, float]] = {
            "overlap": (self.overlap, 0, 1),
            "classes": (self.classes, 2, math.inf),
            "widths": (self.widths, 1, 256),
            "epochs": (self.epochs, 1, math.inf),
            "label-noise": (self.label_noise, 0, 1),
            "teachers": ((self.teachers,), 1, math.inf),
        }
        for option, (values, least, most) in lists.items():
            if not values:
                raise UserError(f"--{option} needs a value: leave it out for the default")
            for value in values:
                if not least <= value <= most:
                    raise UserError(
                        f"--{option} must lie between {least:g} and {most:g}, not {value:g}"
                    )
        if not self.networks:
            raise UserError("--networks needs a name: leave it out for the default")


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What a study is asked to find out: the options of ``jobs/study.py``.

    Attributes:
        repository: Teachers: folders or URLs that hold teacher folders at any depth.
        data: Labelled images of each target task; probe sets are drawn from them.
        test: Labelled images of each task, in the same order, by which accuracy is measured.
        out: Directory or URL of the study.
        names: What the tasks are called; by default task1, task2, ...
        labelled: Images a class in a probe set, and with labels for a student.
        unlabelled: Images a class without label for a student, as far as there are so many.
        seeds: How many probe sets are drawn a task, and students trained a teacher.
        students_on: Names of the tasks on which students are trained; by default all; none for
            linear probes alone.
        chosen_on: Names of tasks by which something was chosen: they are reported apart.
        metrics: Which scores; by default all.
        student: A small ResNet of the project, or a name of torchvision or timm.
        weight: Weight of transport beside cross-entropy.
        transport: See the options of jobs/distill.py.
        training: Likewise.
        views: Fixed views that teachers are asked about: the image, its mirror image, then crops.
        seed: Of probe sets, students and bootstrap.
        workers: How many jobs at a time; by default what the machines hold; 0 works in this
            process, without Ray.
        fresh: Throw away what an earlier study left in --out.
        trust_code: Load formats that can run code of the repository's owner.
    """

    repository: tuple[str, ...]
    data: tuple[str, ...]
    test: tuple[str, ...]
    out: str = "study"
    names: tuple[str, ...] = ()
    labelled: int = 30
    unlabelled: int = 70
    seeds: int = 3
    students_on: tuple[str, ...] | None = None
    chosen_on: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    student: str = "small_resnet8"
    weight: float = 3.0
    transport: TransportSettings = _TRANSPORT
    training: TrainingSettings = _TRAINING
    views: int = 2
    seed: int = 0
    workers: int | None = None
    fresh: bool = False
    trust_code: bool = False

    @property
    def task_names(self) -> tuple[str, ...]:
        """One name a task."""
        return self.names or tuple(f"task{number}" for number in range(1, len(self.data) + 1))

    @property
    def student_tasks(self) -> tuple[str, ...]:
        """Names of the tasks on which students are trained."""
        return self.task_names if self.students_on is None else self.students_on

    @property
    def rankers(self) -> tuple[str, ...]:
        """Names of the scores that are computed."""
        from rayxkd.study.rankers import rankers  # --help needs no torch

        return self.metrics or tuple(rankers())

    def recorded(self) -> dict[str, Any]:
        """What results depend on, as JSON values; addresses without their secrets.

        Tasks, metrics and seeds may be added to a study: their results stand apart.
        """
        content = recordable(asdict(self))
        growing = {
            *("repository", "data", "test", "names", "seeds", "students_on", "metrics", "seed"),
        }
        kept = {name: value for name, value in content.items() if name not in _HOW | growing}
        return kept | {"method": _METHOD_VERSION}

    def distillation(self, seed: int, *, taught: bool) -> DistillSettings:
        """How a student is trained, by a teacher or by labels alone."""
        return DistillSettings(
            objective=("transport",) if taught else ("cross_entropy",),
            weight=(self.weight,) if taught else (1.0,),
            student=self.student,
            transport=self.transport,
            training=replace(self.training, seed=seed),
            views=self.views,
            mixtures=0,
        )

    def check(self) -> None:
        """Refuse what cannot be right, before anything is started.

        Raises:
            UserError: the first that is wrong.
        """
        if not self.repository or not self.data:
            raise UserError("--repository and --data need at least one address each")
        if len(self.test) != len(self.data):
            raise UserError(
                f"--test has {len(self.test)} addresses for {len(self.data)} of --data: give one "
                "for each task, in the same order"
            )
        if len(self.task_names) != len(self.data) or len(set(self.task_names)) != len(self.data):
            raise UserError(
                f"--names must be {len(self.data)} different names, one for each of --data"
            )
        for name in (*self.student_tasks, *self.chosen_on):
            if name not in self.task_names:
                raise unknown_name("task", name, self.task_names)
        self._check_rankers()
        least = {"labelled": 2, "unlabelled": 0, "seeds": 1, "views": 1, "seed": 0}
        for option, smallest in least.items():
            if getattr(self, option) < smallest:
                raise UserError(
                    f"--{option} must be {smallest} or more, not {getattr(self, option)}"
                )
        self.distillation(self.seed, taught=True).check()

    def _check_rankers(self) -> None:
        from rayxkd.study.rankers import rankers

        for name in self.rankers:
            if name not in rankers():
                raise unknown_name("score", name, rankers())
