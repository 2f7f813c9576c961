"""A zoo of small teachers that differ in what they know and in how well they know it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from rayxkd.data import ImageSet, open_image_set
from rayxkd.distill.export import write_student
from rayxkd.distill.gather import read_labelled
from rayxkd.distill.loop import Place, Training
from rayxkd.distill.material import LabelledImages, Material
from rayxkd.distill.settings import DistillSettings, TrainingSettings
from rayxkd.distill.students import StudentSpec, student_spec
from rayxkd.errors import UserError
from rayxkd.fleet.child import Seat
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.sharing import check_shared
from rayxkd.storage import Storage
from rayxkd.study.settings import ZooSettings
from rayxkd.study.workers import run_jobs
from rayxkd.teachers.card import ACCURACY_KEY, CARD_FILE

T = TypeVar("T")
# Under this key of its card a teacher of a zoo says how it was made.
RECIPE_KEY = "recipe"
_BATCH_SIZE = 64


@dataclass(frozen=True)
class Recipe:
    """How one teacher is made.

    Attributes:
        number: its place in the zoo.
        network: its architecture.
        width: channels of its first stage.
        epochs: how often it sees every training image.
        label_noise: share of training images with a wrong label.
        overlap: share of the target task's classes that it knows.
        class_names: K classes, in the order of its labels.
        seed: of noise, weights and order.
    """

    number: int
    network: str
    width: int
    epochs: int
    label_noise: float
    overlap: float
    class_names: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """Folder of the teacher."""
        return (
            f"{self.number:03d}_{self.network}_w{self.width}_k{len(self.class_names)}"
            f"_e{self.epochs}_n{self.label_noise:.0%}_o{self.overlap:.0%}".replace("%", "")
        )


def recipes(
    settings: ZooSettings, class_names: Sequence[str], targets: Sequence[Sequence[str]]
) -> list[Recipe]:
    """Deal out what every teacher is made of.

    Args:
        settings: lists to deal from.
        class_names: of the training images.
        targets: class names of each target task; the teachers take turns with them.

    Returns:
        ``settings.teachers`` recipes. The classes of a teacher are ``overlap`` of its target's
        classes, drawn at random, and others that its target does not have.
    """
    count = settings.teachers
    rng = np.random.default_rng(settings.seed)
    dealt = zip(
        _deal(settings.networks, count, rng),
        _deal(settings.widths, count, rng),
        _deal(settings.epochs, count, rng),
        _deal(settings.label_noise, count, rng),
        _deal(settings.overlap, count, rng),
        _deal(settings.classes, count, rng),
        _deal(tuple(range(len(targets))) or (None,), count, rng),
        strict=True,
    )
    made = []
    for number, (network, width, epochs, noise, overlap, classes, target) in enumerate(dealt):
        wanted = () if target is None else targets[target]
        chosen = _choose_classes(class_names, wanted, classes, overlap, rng)
        seed = settings.seed * 10_000 + number
        made.append(
            Recipe(number, network, width, epochs, noise, overlap if wanted else 0.0, chosen, seed)
        )
    return made


def build_zoo(settings: ZooSettings, console: Console) -> list[Recipe]:
    """Train the teachers that are not there yet; a zoo that was stopped is continued.

    Returns:
        All recipes.

    Raises:
        UserError: images that are not there, a folder that holds something else, or an output that
            cannot be written.
    """
    settings.check()
    images = open_image_set(settings.data)
    targets = [open_image_set(address).class_names for address in settings.targets]
    made = recipes(settings, images.class_names, targets)
    storage = Storage.at(settings.out)
    missing = [recipe for recipe in made if not _is_there(storage, recipe)]
    console.print(
        f"{len(made)} teachers, {len(made) - len(missing)} of them there", highlight=False
    )
    if missing:
        test = None if settings.test is None else _read(open_image_set(settings.test))
        # The longest first, so that nobody waits at the end.
        missing.sort(key=_work, reverse=True)
        with Cluster() as cluster:
            if settings.workers != 0:
                check_shared(cluster, [("out", storage)])
            shared = (_read(images), test, storage)
            jobs = run_jobs(missing, Teachers, shared, cluster, settings.workers)
            _tell(jobs, len(missing), console)
    return made


class Teachers:
    """Trains teachers; keeps the images that they share."""

    def __init__(
        self,
        seat: Seat,
        images: tuple[LabelledImages, tuple[str, ...]],
        test: tuple[LabelledImages, tuple[str, ...]] | None,
        storage: Storage,
    ) -> None:
        """Prepare to write teachers below ``storage``."""
        self._device = seat.device
        self._images, self._test, self._storage = images, test, storage

    def run(self, recipe: Recipe) -> float | None:
        """Train and write one; returns its accuracy on its own classes, if there is a test set."""
        names = recipe.class_names
        clean = of_classes(*self._images, names)
        labels_N = with_noise(clean.labels_N, len(names), recipe.label_noise, recipe.seed)
        material = Material(names, LabelledImages(clean.images, labels_N), None, None, 1)
        training = Training(_training(recipe), _spec(recipe), material, Place(device=self._device))
        while not training.is_done:
            training.train_epoch()
        accuracy = None
        if self._test is not None:
            test = of_classes(*self._test, names)
            accuracy = training.correct(test) / len(test)
        made = {key: value for key, value in asdict(recipe).items() if key != "class_names"}
        write_student(
            self._storage.child(recipe.name),
            training.network,
            _spec(recipe),
            names,
            license=None,
            graphs=False,
            extra={RECIPE_KEY: made, ACCURACY_KEY: accuracy},
        )
        return accuracy


def with_noise(
    labels_N: NDArray[np.int64], num_classes: int, share: float, seed: int
) -> NDArray[np.int64]:
    """Labels of which a share, drawn at random, is another class, each as likely."""
    rng = np.random.default_rng([seed, 1])
    noisy_N = labels_N.copy()
    wrong = rng.permutation(len(labels_N))[: round(share * len(labels_N))]
    noisy_N[wrong] = (noisy_N[wrong] + rng.integers(1, num_classes, len(wrong))) % num_classes
    return noisy_N


def of_classes(
    images: LabelledImages, class_names: Sequence[str], chosen: Sequence[str]
) -> LabelledImages:
    """The images of some classes, labelled in the order of ``chosen``."""
    label_of = np.full(len(class_names), -1)
    label_of[[class_names.index(name) for name in chosen]] = np.arange(len(chosen))
    kept = images.rows(np.flatnonzero(label_of[images.labels_N] >= 0))
    return replace(kept, labels_N=label_of[kept.labels_N])


def _deal(values: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    """Every value as often as any other, give or take one, in random order."""
    return [values[place] for place in rng.permutation(np.arange(count) % len(values))]


def _choose_classes(
    known: Sequence[str],
    target: Sequence[str],
    count: int,
    overlap: float,
    rng: np.random.Generator,
) -> tuple[str, ...]:
    """Some of the target's classes and others; the target's come first, so that they fit."""
    inside = [name for name in known if name in set(target)]
    outside = [name for name in known if name not in set(target)]
    shared = min(round(overlap * len(inside)), count)
    others = min(count - shared, len(outside))
    chosen = [*rng.choice(inside, shared, replace=False)] if shared else []
    chosen += [*rng.choice(outside, others, replace=False)] if others else []
    if len(chosen) < 2:
        raise UserError(
            f"a teacher would have {len(chosen)} class(es): the images of --data have "
            f"{len(outside)} that its target task does not have; give more --classes or --overlap"
        )
    return tuple(str(name) for name in rng.permutation(chosen))


def _is_there(storage: Storage, recipe: Recipe) -> bool:
    """Whether the teacher has been made.

    Raises:
        UserError: another recipe has been followed in its folder.
    """

    card = f"{recipe.name}/{CARD_FILE}"
    if not storage.exists(card):
        return False
    try:
        content = json.loads(storage.read(card))
        there = (content["label_names"], content[RECIPE_KEY]["seed"])
    except (ValueError, KeyError, TypeError):
        there = ([], None)
    if there != (list(recipe.class_names), recipe.seed):
        raise UserError(
            f"{storage.url_of(recipe.name)} holds another teacher: give the same options as when "
            "this zoo was begun, or another --out"
        )
    return True


def _read(images: ImageSet) -> tuple[LabelledImages, tuple[str, ...]]:
    return read_labelled(images), images.class_names


def _work(recipe: Recipe) -> int:
    """Grows with the time that a teacher takes."""
    depth = int(recipe.network.removeprefix("small_resnet"))
    return recipe.epochs * len(recipe.class_names) * recipe.width**2 * depth


def _training(recipe: Recipe) -> DistillSettings:
    training = TrainingSettings(
        epochs=recipe.epochs, epoch_images=1, batch_size=_BATCH_SIZE, seed=recipe.seed
    )
    return DistillSettings(
        objective=("cross_entropy",), student=recipe.network, training=training, views=1
    )


def _spec(recipe: Recipe) -> StudentSpec:
    spec = student_spec(recipe.network, len(recipe.class_names))
    return replace(spec, model_args={**spec.model_args, "width": recipe.width})


def _tell(jobs: Iterator[Any], total: int, console: Console) -> None:
    for done, finished in enumerate(jobs, 1):
        accuracy = "" if finished.value is None else f"  {finished.value:.1%} right"
        console.print(f"{done}/{total}  {finished.job.name}{accuracy}", highlight=False)
