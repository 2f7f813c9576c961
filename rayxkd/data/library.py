"""Image sets that torchvision knows by name: ``torchvision://CIFAR100``."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rayxkd.data.images import ImageSet
from rayxkd.errors import UserError, unknown_name
from rayxkd.offline import is_offline
from rayxkd.retries import again_if_transient

TORCHVISION_SCHEME = "torchvision://"
ROOT_VARIABLE = "TORCHVISION_DATASETS"
_TRAIN_OR_TEST = {"train": {"train": True}, "test": {"train": False}}


def _splits(*names: str) -> dict[str, dict[str, Any]]:
    return {name: {"split": name} for name in names}


_WITH_VALIDATION = _splits("train", "val", "test")
# Sets of torchvision with one class an image, and what each of their splits is opened with.
_SETS: dict[str, dict[str, dict[str, Any]]] = {
    "CIFAR10": _TRAIN_OR_TEST,
    "CIFAR100": _TRAIN_OR_TEST,
    "Caltech101": {"all": {}},
    "Caltech256": {"all": {}},
    "Country211": _splits("train", "valid", "test"),
    "DTD": _WITH_VALIDATION,
    "EuroSAT": {"all": {}},
    "FGVCAircraft": _WITH_VALIDATION,
    "FashionMNIST": _TRAIN_OR_TEST,
    "Flowers102": _WITH_VALIDATION,
    "Food101": _splits("train", "test"),
    "GTSRB": _splits("train", "test"),
    "Imagenette": _splits("train", "val"),
    "KMNIST": _TRAIN_OR_TEST,
    "MNIST": _TRAIN_OR_TEST,
    "OxfordIIITPet": _splits("trainval", "test"),
    "PCAM": _WITH_VALIDATION,
    "RenderedSST2": _WITH_VALIDATION,
    "STL10": _splits("train", "test"),
    "SUN397": {"all": {}},
    "SVHN": _splits("train", "test"),
    "StanfordCars": _splits("train", "test"),
    "USPS": _TRAIN_OR_TEST,
}
# Where these sets keep their labels: most lists of numbers, some lists of (path, number).
_NAMES = ("classes", "categories")
_LABELS = ("targets", "labels", "_labels", "y", "_samples", "samples")


@dataclass(frozen=True)
class _Name:
    """A set and one of its splits."""

    name: str
    split: str

    @classmethod
    def parse(cls, address: str) -> _Name:
        name, _, split = address.removeprefix(TORCHVISION_SCHEME).strip("/").partition("/")
        if name not in _SETS:
            raise unknown_name("image set of torchvision", name, _SETS)
        known = list(_SETS[name])
        if split and split not in known:
            raise unknown_name(f"split of {TORCHVISION_SCHEME}{name}", split, known)
        return cls(name, split or known[0])

    @property
    def arguments(self) -> dict[str, Any]:
        return _SETS[self.name][self.split]


class LibraryImageSet(ImageSet):
    """One split of a set of torchvision; without a split it is the training images.

    torchvision downloads it once, checked, into ``$TORCHVISION_DATASETS``, or ``datasets`` in
    torch's cache.

    Raises:
        UserError: an unknown set or split, or one that is neither there nor can be downloaded.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._images = _opened(_Name.parse(address))
        self.labels_N = np.asarray(_labels(self._images), dtype=np.int64)
        count = int(self.labels_N.max()) + 1
        names: Sequence[Any] = next(
            (getattr(self._images, key) for key in _NAMES if hasattr(self._images, key)), ()
        )
        shown = tuple(" / ".join(one) if isinstance(one, tuple) else str(one) for one in names)
        self.class_names = shown if len(shown) >= count else tuple(map(str, range(count)))

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`; PNG, of the same pixels."""
        return [_png(self._images[index][0]) for index in indices]


def _opened(name: _Name) -> Any:
    from torchvision import datasets

    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    create = partial(getattr(datasets, name.name), root, **name.arguments)
    if is_offline():
        return _tried(name, root, create)
    try:
        return create()
    except (RuntimeError, OSError):  # not there yet
        return _tried(name, root, partial(again_if_transient, partial(create, download=True)))


def _tried(name: _Name, root: Path, create: Callable[[], Any]) -> Any:
    try:
        return create()
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(
            f"{name.name} is not in {root} and cannot be downloaded: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _root() -> Path:
    import torch.hub

    given = os.environ.get(ROOT_VARIABLE)
    return Path(given) if given else Path(torch.hub.get_dir()).parent / "datasets"


def _labels(images: Any) -> Any:
    for name in _LABELS:
        labels = getattr(images, name, None)
        if labels is not None and len(labels) == len(images):
            pairs = isinstance(labels[0], tuple)
            return [label for *_, label in labels] if pairs else labels
    return [images[place][1] for place in range(len(images))]


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
