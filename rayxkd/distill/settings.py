"""What a distillation is asked to do, and the part of it that its result depends on."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rayxkd.data.digits import DEMO_SCHEME
from rayxkd.errors import UserError, unknown_name
from rayxkd.secrets import recordable

# Raised when training changes, so that a checkpoint of before is not continued after.
_METHOD_VERSION = 1
BEST = "best"
# Objectives, each with the weight beside cross-entropy that suited it on real tasks.
_USUAL_WEIGHTS = {
    "cross_entropy": 1.0,
    "label_smoothing": 0.3,
    "confidence_penalty": 0.1,
    "transport": 3.0,
    "sorted_logits": 0.3,
    "probe": 3.0,
    "relation": 1.0,
}
OBJECTIVES = tuple(_USUAL_WEIGHTS)
_WANTED_UNLABELLED = 2_000
TEACHER_PASSES = ("cached", "online")
AUGMENTATIONS = ("none", "crop", "strong")
OPTIMIZERS = ("sgd", "adamw")
# Objectives that ask no teacher, and look at no image without label.
WITHOUT_TEACHER = frozenset({"cross_entropy", "label_smoothing", "confidence_penalty"})
# What decides how, not what, is computed.
_HOW = frozenset(
    {
        "leaderboard",
        "out",
        "workers",
        "gpus_per_worker",
        "fresh",
        "onnx",
        "compare",
        "trust_code",
        "config",
        "max_failures",
    }
)


@dataclass(frozen=True, kw_only=True)
class TransportSettings:
    """The transport term: what the search looks through.

    Attributes:
        cost: Ground cost: learned, features, cooccurrence or prototype.
        form: expected (transport cost with entropy), target (distillation of the mapped
            prediction), or entropic (entropic transport).
        epsilon: Entropic regularisation, in units of the cost.
        temperature: Temperature of the teacher's softmax; by default the cost's own choice.
        source_penalty: With the entropic form: price of not moving a teacher's mass; by default
            all of it must be moved.
        permute_cost: Exchange the rows of the ground cost at random: the control.
    """

    cost: str = "learned"
    form: str = "expected"
    epsilon: float = 1.0
    temperature: float | None = None
    source_penalty: float | None = None
    permute_cost: bool = False

    @property
    def source_penalty_or_inf(self) -> float:
        """The penalty as the loss wants it."""
        return math.inf if self.source_penalty is None else self.source_penalty


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a student is trained.

    Attributes:
        epochs: How many; in each as many images are seen as there are, and at least --epoch-images.
        epoch_images: Small image sets are repeated within an epoch up to so many.
        batch_size: Images in a step, over all workers.
        labelled_share: Share of labelled images in a batch where there are unlabelled ones.
        optimizer: sgd (Nesterov momentum) or adamw.
        learning_rate: Its peak; by default 0.1 for sgd and 0.002 for adamw.
        weight_decay: Of weights, not of biases and norms; by default 5e-4 for sgd, 0.05 for adamw.
        warmup: Share of the steps in which the learning rate rises; then it falls as a cosine.
        clip: Largest norm of the gradient.
        ema: Decay of the averaged weights, which are the ones that count; 0 takes the last.
        augment: Beside the views: none, crop (shifts by an eighth) or strong (RandAugment too).
        amp: Mixed precision on GPUs.
        seed: Of weights, order, views and augmentation.
    """

    epochs: int = 20
    epoch_images: int = 2_048
    batch_size: int = 64
    labelled_share: float = 0.25
    optimizer: str = "sgd"
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup: float = 0.05
    clip: float = 5.0
    ema: float = 0.99
    augment: str = "crop"
    amp: bool = True
    seed: int = 0

    @property
    def peak_rate(self) -> float:
        """The learning rate that is taken."""
        return self.learning_rate or (0.1 if self.optimizer == "sgd" else 2e-3)

    @property
    def decay(self) -> float:
        """The weight decay that is taken."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 5e-4 if self.optimizer == "sgd" else 0.05


@dataclass(frozen=True, kw_only=True)
class DistillSettings:
    """What a distillation is asked to do: the options of ``jobs/distill.py``.

    Attributes:
        leaderboard: Leaderboard of a scan, on which the teachers stand.
        data: Labelled images of the target task.
        out: Directory or URL of the student.
        unlabelled: More images of the task, without labels (labels are not looked at).
        test: Labelled images that only the last line and the report look at.
        validation: Share of the labelled images that is held back and watched.
        teacher: best, or the names of one or several teachers: a faculty, weighted by their costs.
        student: A small ResNet of the project (small_resnet8, 14, 20), or a name of torchvision
            or timm.
        image_size: Side of the student's images in pixels; by default 32 for small ResNets.
        objective: What the student learns beside the labels; several names are added up.
        weight: Weight of each objective, one number or one an objective; by default what suited it
            in our measurements.
        transport: See TransportSettings.
        distil_temperature: Temperature at which probe targets are compared.
        training: See TrainingSettings.
        teacher_pass: cached asks the teachers once about a few fixed views of every image; online
            asks them anew about what the student sees in each step.
        views: How many fixed views: the image, its mirror image, then crops.
        mixtures: Blends of labelled images that the teachers judge and the student learns as
            images without label; by default what is wanting to 2,000 of those.
        workers: Processes that train together; 0 trains in this process, without Ray.
        gpus_per_worker: GPUs for each; by default one where there are any.
        max_failures: How often a training whose worker died goes on from its last epoch.
        compare: Train the same student with cross-entropy alone as well.
        onnx: Write an ONNX file too.
        fresh: Throw away what an earlier run left in --out.
        trust_code: Load formats that can run code of the repository's owner.
        config: JSON file of settings, such as a search writes; options given here come first.
    """

    leaderboard: str = "leaderboard"
    data: str = DEMO_SCHEME
    out: str = "student"
    unlabelled: str | None = None
    test: str | None = None
    validation: float = 0.0
    teacher: tuple[str, ...] = (BEST,)
    student: str = "small_resnet8"
    image_size: int | None = None
    objective: tuple[str, ...] = ("transport",)
    weight: tuple[float, ...] = ()
    transport: TransportSettings = TransportSettings()
    distil_temperature: float = 1.0
    training: TrainingSettings = TrainingSettings()
    teacher_pass: str = "cached"
    views: int = 2
    mixtures: int | None = None
    workers: int = 1
    gpus_per_worker: float | None = None
    max_failures: int = 3
    compare: bool = False
    onnx: bool = False
    fresh: bool = False
    trust_code: bool = False
    config: str | None = None

    @property
    def weights(self) -> tuple[float, ...]:
        """One weight an objective."""
        if not self.weight:
            return tuple(_USUAL_WEIGHTS[name] for name in self.objective)
        return self.weight * len(self.objective) if len(self.weight) == 1 else self.weight

    def mixtures_beside(self, unlabelled: int) -> int:
        """How many blends there are beside so many images without label."""
        if not self.needs_teacher:
            return 0
        if self.mixtures is not None:
            return self.mixtures
        return max(0, _WANTED_UNLABELLED - unlabelled)

    @property
    def needs_teacher(self) -> bool:
        """Whether any objective asks a teacher."""
        return not WITHOUT_TEACHER.issuperset(self.objective)

    def recorded(self) -> dict[str, Any]:
        """What the student depends on, as JSON values; addresses without their secrets.

        So a training goes on where a password or a signature was renewed.
        """
        content = recordable(asdict(self))
        content["weight"] = list(self.weights)
        return {name: value for name, value in content.items() if name not in _HOW} | {
            "method": _METHOD_VERSION
        }

    def without_secrets(self) -> DistillSettings:
        """The same with addresses that cannot be opened, for whoever has all that lies there."""
        return replace(
            self, **{field.name: recordable(getattr(self, field.name)) for field in fields(self)}
        )

    def digest(self) -> str:
        """SHA-256 of :meth:`recorded`."""
        content = json.dumps(self.recorded(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def check(self) -> None:
        """Refuse names and numbers that cannot be right, before anything is started.

        Raises:
            UserError: the first that is wrong.
        """
        from rayxkd.transport import ground_cost  # --help needs no torch
        from rayxkd.transport.loss import FORMS

        for name in self.objective:
            _known("objective", name, OBJECTIVES)
        if not self.teacher or not self.objective:
            raise UserError("--teacher and --objective need a name: leave them out for the default")
        ground_cost(self.transport.cost)
        _known("form", self.transport.form, FORMS)
        _known("teacher-pass", self.teacher_pass, TEACHER_PASSES)
        _known("augmentation", self.training.augment, AUGMENTATIONS)
        _known("optimizer", self.training.optimizer, OPTIMIZERS)
        if len(self.weight) not in (0, 1, len(self.objective)):
            raise UserError(
                f"--weight has {len(self.weight)} numbers for {len(self.objective)} objectives: "
                "give one, or one for each"
            )
        if self.compare and self.test is None:
            raise UserError("--compare needs --test: images on which both students are compared")
        if self.transport.source_penalty is not None and self.transport.form != "entropic":
            raise UserError(
                f"--transport.source-penalty has no meaning with the form "
                f"'{self.transport.form}': use --transport.form entropic"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        t, s = self.training, self.transport
        positive = {
            "transport.epsilon": s.epsilon,
            "transport.temperature": s.temperature,
            "transport.source-penalty": s.source_penalty,
            "distil-temperature": self.distil_temperature,
            "training.epochs": t.epochs,
            "training.epoch-images": t.epoch_images,
            "training.batch-size": t.batch_size,
            "training.learning-rate": t.learning_rate,
            "training.clip": t.clip,
            "image-size": self.image_size,
            "views": self.views,
        }
        for name, value in positive.items():
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name} must be positive, not {value:g}")
        shares = {
            "validation": (self.validation, 0.0, 0.9),
            "training.labelled-share": (t.labelled_share, 0.01, 1.0),
            "training.warmup": (t.warmup, 0.0, 1.0),
            "training.ema": (t.ema, 0.0, 0.99999),
        }
        for name, (value, least, most) in shares.items():
            if not least <= value <= most:
                raise UserError(f"--{name} must lie between {least:g} and {most:g}, not {value:g}")
        counts = {
            "weight": min(self.weights),
            "workers": self.workers,
            "gpus-per-worker": self.gpus_per_worker or 0,
            "max-failures": self.max_failures,
            "mixtures": self.mixtures or 0,
            "training.weight-decay": t.weight_decay or 0,
            "training.seed": t.seed,
        }
        for name, value in counts.items():
            if not value >= 0:
                raise UserError(f"--{name} cannot be negative, not {value:g}")
        if not math.isfinite(sum(self.weights)):
            raise UserError("--weight must be a number for each objective, not inf")
        least = 2 * max(1, self.workers)
        if t.batch_size < least:
            raise UserError(
                f"--training.batch-size {t.batch_size} with --workers {self.workers}: each needs "
                f"two images in a step, so give {least} or more"
            )


def _known(kind: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise unknown_name(kind, name, names)


def with_config(settings: DistillSettings) -> DistillSettings:
    """The settings, those that were left at their defaults taken from the ``config`` file.

    Raises:
        UserError: the file cannot be read, or holds something else than settings.
    """
    if settings.config is None:
        return settings
    from rayxkd.storage import Storage

    try:
        content = json.loads(Storage.at(settings.config).read())
    except (OSError, ValueError) as error:
        raise UserError(f"--config {settings.config} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {settings.config} must hold a JSON object of settings")
    return _merged(settings, DistillSettings(), content, settings.config)


_S = TypeVar("_S", DistillSettings, TransportSettings, TrainingSettings)


def _merged(given: _S, default: _S, content: dict[str, Any], where: str) -> _S:
    changes: dict[str, Any] = {}
    known = {field.name for field in fields(default)} - _HOW
    kinds = get_type_hints(type(default))
    for name, value in content.items():
        if name not in known:
            raise UserError(f"--config {where}: {unknown_name('setting', name, known)}")
        mine, usual = getattr(given, name), getattr(default, name)
        if isinstance(usual, TransportSettings | TrainingSettings):
            if not isinstance(value, dict):
                raise UserError(f"--config {where}: '{name}' must be an object of settings")
            changes[name] = _merged(mine, usual, value, where)
        elif not _fits(value, kinds[name]):
            raise UserError(f"--config {where}: '{name}' cannot be {json.dumps(value)}")
        elif mine == usual:
            changes[name] = tuple(value) if isinstance(usual, tuple) else value
    return replace(given, **changes)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of the kind that a setting is annotated with."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(_fits(one, get_args(kind)[0]) for one in value)
    if isinstance(value, bool) or kind is not float:
        return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    return isinstance(value, int | float)
