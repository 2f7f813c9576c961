"""The layout of a teacher card that timm writes, which ours are in too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rayxkd.teachers.card import (
    ACCURACY_KEY,
    CROP_MODES,
    INTERPOLATIONS,
    LARGEST_SIDE,
    MOST_CLASSES,
    CardContent,
    Preprocessing,
)
from rayxkd.teachers.entries import Entries

_BUILT_BY_NAME = ("timm", "torchvision", "rayxkd")
_MOST_FEATURES = 1_000_000


def read_timm(entries: Entries, library: str) -> CardContent:
    """Read a card.

    Args:
        entries: of ``config.json``.
        library: who builds the teacher.

    Raises:
        TeacherError: ``invalid`` or ``unsupported``.
    """
    pretrained = entries.inner("pretrained_cfg")
    num_classes = entries.whole("num_classes", 2, MOST_CLASSES)
    known_width = entries.get("num_features") is not None
    architecture = entries.get("architecture")
    if library in _BUILT_BY_NAME and not isinstance(architecture, str):
        raise entries.invalid("names no 'architecture'")
    return CardContent(
        architecture=architecture if isinstance(architecture, str) else None,
        num_classes=num_classes,
        num_features=entries.whole("num_features", 1, _MOST_FEATURES) if known_width else None,
        label_names=_label_names(entries, num_classes),
        model_args=entries.inner("model_args").values,
        preprocessing=read_preprocessing(pretrained),
        license=pretrained.text("license") or entries.text("license"),
        own_accuracy=entries.share(ACCURACY_KEY),
    )


def _label_names(entries: Entries, num_classes: int) -> tuple[str, ...]:
    names = entries.get("label_names") or []
    if not isinstance(names, list):
        raise entries.invalid("has label_names that are not a list")
    if names and len(names) != num_classes:
        raise entries.invalid(f"has {len(names)} label_names for {num_classes} classes")
    return tuple(str(name) for name in names)


def read_preprocessing(entries: Entries) -> Preprocessing:
    """Make a preprocessing of a card's ``pretrained_cfg``.

    Raises:
        TeacherError: ``invalid`` or ``unsupported``.
    """
    default = Preprocessing()
    size = entries.numbers("input_size", default.input_size)
    if len(size) != 3 or not all(side.is_integer() for side in size):
        raise entries.invalid(f"has an input_size of {list(size)}: give channels, height and width")
    channels, height, width = (int(side) for side in size)
    if channels not in (1, 3) or not 0 < min(height, width) <= max(height, width) <= LARGEST_SIDE:
        raise entries.invalid(f"asks for images of {channels} x {height} x {width}")
    mean = _channels(entries, "mean", default.mean, channels)
    std = _channels(entries, "std", default.std, channels)
    if min(std) <= 0:
        raise entries.invalid("has a std that is not positive")
    crop_pct = entries.number("crop_pct", default.crop_pct)
    if not 0 < crop_pct <= 2 or max(height, width) / crop_pct > 2 * LARGEST_SIDE:
        raise entries.invalid(f"has a crop_pct of {crop_pct}")
    return Preprocessing(
        (channels, height, width),
        mean,
        std,
        entries.one_of("interpolation", default.interpolation, INTERPOLATIONS),
        crop_pct,
        entries.one_of("crop_mode", default.crop_mode, CROP_MODES),
    )


def _channels(
    entries: Entries, key: str, default: Sequence[float], channels: int
) -> tuple[float, ...]:
    values = entries.numbers(key, default[:channels])
    if len(values) != channels or not all(math.isfinite(value) for value in values):
        raise entries.invalid(f"has a {key} that does not fit {channels} channels")
    return values
