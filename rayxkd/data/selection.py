"""Some classes and some images of an image set, chosen in its address.

``ADDRESS#classes=bear,leopard,lion&per_class=30&seed=0``: any of ``classes`` (names, the labels in
their order), ``per_class`` (``30`` the first 30 images of each class in a seeded shuffle,
``30:230`` the 31st to the 230th, ``30:`` all from the 31st) and ``seed`` (of the shuffle; 0).
In a name ``%2C`` stands for a comma and ``%26`` for ``&``.

The shuffle is of the whole image set, so selections with one seed and ranges that do not overlap
share no image, whichever classes each of them chooses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from rayxkd.data.images import ImageSet, no_labels
from rayxkd.errors import UserError, some_of, unknown_name

_KEYS = ("classes", "per_class", "seed")
# A `#` may stand in a path: only one that a known key follows counts.
_BEGINNING = re.compile(f"#(?=(?:{'|'.join(_KEYS)})=)")
_ANY_KEY = re.compile(r"#(\w+)=")
_RANGE = re.compile(r"(?P<first>[0-9]+)(?P<colon>:)?(?P<last>[0-9]+)?")


@dataclass(frozen=True)
class Selection:
    """Which images of an image set; by default all of them.

    Attributes:
        classes: names in the order of their labels; ``None`` for all classes as they are.
        start: how many images of each class are passed over in the shuffle.
        stop: where the images of each class end in the shuffle; ``None`` for no end.
        seed: of the shuffle.
    """

    classes: tuple[str, ...] | None = None
    start: int = 0
    stop: int | None = None
    seed: int = 0


def split_selection(address: str) -> tuple[str, Selection | None]:
    """The address without its selection, and the selection if there is one.

    Raises:
        UserError: an unknown key, one that stands there twice, or a value that means nothing.
    """
    beginning = _BEGINNING.search(address)
    if beginning is None:
        return address, None
    values: dict[str, str] = {}
    for part in address[beginning.end() :].split("&"):
        key, equals, value = part.partition("=")
        if key not in _KEYS:
            raise unknown_name(f"key in the selection of {address}:", key, _KEYS)
        if not equals or key in values:
            fault = "stands there twice" if equals else "has no value"
            raise UserError(f"{address}: '{key}' {fault}: write {key}=... once")
        values[key] = value
    return address[: beginning.start()], _selection(address, values)


def mistyped_key(address: str) -> UserError | None:
    """The error for an address that ends like a selection but has no known key, else ``None``.

    For addresses where nothing is found: ``images#clases=a`` could be a path.
    """
    key = _ANY_KEY.search(address)
    return unknown_name(f"key in the selection of {address}:", key[1], _KEYS) if key else None


def _selection(address: str, values: dict[str, str]) -> Selection:
    start, stop = _range(address, values.get("per_class", "0:"))
    seed = values.get("seed", "0")
    if not re.fullmatch("[0-9]+", seed):
        raise UserError(f"{address}: seed must be a whole number from 0 on, not '{seed}'")
    classes = None
    if "classes" in values:
        classes = tuple(unquote(name) for name in values["classes"].split(","))
        twice = [name for name in dict.fromkeys(classes) if classes.count(name) > 1]
        if twice or "" in classes:
            fault = f"{some_of(twice)} twice" if any(twice) else "an empty name"
            raise UserError(f"{address}: classes has {fault}: write classes=NAME,NAME,...")
    return Selection(classes, start, stop, int(seed))


def _range(address: str, value: str) -> tuple[int, int | None]:
    """``30`` is 0 to 30, ``30:230`` is 30 to 230, ``30:`` is from 30 on."""
    match = _RANGE.fullmatch(value)
    if match is None or (match["last"] and not match["colon"]):
        raise UserError(
            f"{address}: per_class must be like 30 (the first 30), 30:230 (the 31st to the 230th) "
            f"or 30: (all from the 31st), not '{value}'"
        )
    first = int(match["first"])
    start, stop = (first, None) if match["colon"] else (0, first)
    stop = int(match["last"]) if match["last"] else stop
    if stop is not None and stop <= start:
        raise UserError(f"{address}: per_class={value} selects no image")
    return start, stop


class SelectedImageSet(ImageSet):
    """Some images of another image set, in its order; see the module for which.

    Args:
        address: the whole address, with the selection.
        base: what is selected from. Without labels it counts as one class.
        selection: which images.
        labelled: keep the labels; otherwise they serve to select only.

    Raises:
        UserError: a class that ``base`` does not have or that is left without images though
            labels are kept, classes of a base without labels, or nothing is selected.
    """

    def __init__(
        self, address: str, base: ImageSet, selection: Selection, *, labelled: bool = True
    ) -> None:
        self.address = address
        self._base = base
        chosen = _chosen_labels(address, base, selection.classes)
        shuffled = _shuffled_by_class(base, selection.seed)
        groups = [shuffled[label][selection.start : selection.stop] for label in chosen]
        self._places_N = np.sort(np.concatenate(groups))
        if not len(self._places_N):
            raise UserError(f"{address} selects none of {len(base)} images: choose other ones")
        self.class_names, self.labels_N = (), no_labels(len(self._places_N))
        if labelled:
            self.class_names = tuple(base.class_names[label] for label in chosen)
            self._check_classes(groups)
            self.labels_N = _labels_in_order(groups)

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`."""
        return self._base.read([int(self._places_N[index]) for index in indices])

    def _check_classes(self, groups: Sequence[NDArray[np.int64]]) -> None:
        pairs = zip(self.class_names, groups, strict=True)
        empty = [name for name, places_n in pairs if not len(places_n)]
        if empty:
            raise UserError(
                f"{self.address} leaves {some_of(empty)} without images: choose others in "
                "per_class, or leave those out of classes"
            )


def _chosen_labels(address: str, base: ImageSet, classes: Sequence[str] | None) -> Sequence[int]:
    """Labels of the chosen classes in the base, in their order; without labels all is class 0."""
    if classes is None:
        return range(max(1, len(base.class_names)))
    if not base.class_names:
        raise UserError(f"{address}: these images have no labels, so leave out 'classes'")
    label_of = {name: label for label, name in enumerate(base.class_names)}
    for name in classes:
        if name not in label_of:
            raise unknown_name(f"class in {address}:", name, base.class_names)
    return [label_of[name] for name in classes]


def _shuffled_by_class(base: ImageSet, seed: int) -> list[NDArray[np.int64]]:
    """The places of each class's images in the order of the shuffle; one group without labels."""
    order_N = np.random.default_rng(seed).permutation(len(base))
    if not base.class_names:
        return [order_N]
    counts = np.bincount(base.labels_N, minlength=len(base.class_names))
    # A stable sort keeps the shuffle's order within each class.
    grouped_N = order_N[np.argsort(base.labels_N[order_N], kind="stable")]
    return np.split(grouped_N, np.cumsum(counts)[:-1])


def _labels_in_order(groups: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Each image's group, int64 [N], the images ascending by their place."""
    labels_N = np.repeat(np.arange(len(groups)), [len(places_n) for places_n in groups])
    return labels_N[np.argsort(np.concatenate(groups))]
