"""What a search is asked to do: the options of ``jobs/tune.py``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.distill.settings import (
    BEST,
    DistillSettings,
    TrainingSettings,
    TransportSettings,
    with_config,
)
from rayxkd.errors import UserError

_TRANSPORT, _TRAINING = TransportSettings(), TrainingSettings()
OBJECTIVES = (("transport",), ("transport", "relation"))


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """What a search is asked to do: the options of ``jobs/tune.py``.

    The base setting is the first trial; the others change its transport, weights and learning rate.

    Attributes:
        leaderboard: Leaderboard of a scan, on which the teachers stand.
        data: Labelled images of the target task.
        out: Directory or URL of the search.
        trials: How many settings are tried, the base setting first.
        max_concurrent: Trials at the same time; by default one a GPU, or one a processor.
        grace_epochs: No trial is stopped before; later on, those in the worse half are.
        seed: Of the search. With several trials at a time it also matters which is done first.
        validation: Share of the labelled images by which trials are compared.
        unlabelled: More images of the task, without labels (labels are not looked at).
        teacher: best, or the names of one or several teachers: a faculty, weighted by their costs.
        student: A small ResNet of the project (small_resnet8, 14, 20), or a name of torchvision
            or timm.
        image_size: Side of the student's images in pixels; by default 32 for small ResNets.
        objective: Of the base setting: transport, or transport and relation.
        weight: Of the base setting: weight of each objective, by default its usual one.
        transport: Of the base setting. See TransportSettings.
        training: Of every trial, but for the learning rate. See TrainingSettings.
        views: How many fixed views: the image, its mirror image, then crops.
        mixtures: Blends of labelled images that the teachers judge and the student learns as
            images without label; by default what is wanting to 2,000 of those.
        workers: Processes that train one trial together.
        gpus_per_worker: GPUs for each; by default one where there are any.
        max_failures: How often a trial whose process died goes on from its last epoch.
        fresh: Throw away what an earlier search left in --out.
        trust_code: Load formats that can run code of the repository's owner.
        config: JSON file of settings, such as a search writes: the base setting, where options do
            not say otherwise.
    """

    leaderboard: str = "leaderboard"
    data: str = DEMO_SCHEME
    out: str = "search"
    trials: int = 16
    max_concurrent: int | None = None
    grace_epochs: int = 4
    seed: int = 0
    validation: float = 0.25
    unlabelled: str | None = None
    teacher: tuple[str, ...] = (BEST,)
    student: str = "small_resnet8"
    image_size: int | None = None
    objective: tuple[str, ...] = ("transport",)
    weight: tuple[float, ...] = ()
    transport: TransportSettings = _TRANSPORT
    training: TrainingSettings = _TRAINING
    views: int = 2
    mixtures: int | None = None
    workers: int = 1
    gpus_per_worker: float | None = None
    max_failures: int = 1
    fresh: bool = False
    trust_code: bool = False
    config: str | None = None

    def base(self) -> DistillSettings:
        """The setting that the search begins with.

        Raises:
            UserError: a name or a number that cannot be right, or ``config`` cannot be read.
        """
        shared = {field.name for field in fields(self)} & {f.name for f in fields(DistillSettings)}
        base = with_config(DistillSettings(**{name: getattr(self, name) for name in shared}))
        base.check()
        self._check(base)
        return base

    def recorded(self) -> dict[str, Any]:
        """What the search depends on beside the base setting, as JSON values.

        Tune goes on with all of it as it was begun.
        """
        names = (
            *("trials", "max_concurrent", "grace_epochs", "seed"),
            *("workers", "gpus_per_worker", "max_failures"),
        )
        return {name: getattr(self, name) for name in names}

    def _check(self, base: DistillSettings) -> None:
        for name in ("trials", "max_concurrent", "grace_epochs", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} {value} must be 1 or more")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} cannot be negative")
        if base.validation == 0:
            raise UserError("--validation 0 leaves nothing to compare trials by: try 0.25")
        if base.objective not in OBJECTIVES:
            raise UserError(
                f"--objective {' '.join(base.objective)}: a search is over transport, with or "
                "without relation"
            )
        if base.teacher_pass != "cached":
            raise UserError("a search asks the teachers once, not online: leave teacher_pass out")
