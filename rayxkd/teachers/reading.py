"""Reading a teacher card: the layout that timm writes, and where others are read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.card import (
    ACCURACY_KEY,
    CARD_FILE,
    CROP_MODES,
    INTERPOLATIONS,
    LARGEST_SIDE,
    WEIGHT_FILES,
    Preprocessing,
    RejectedCard,
    TeacherCard,
    TeacherFolder,
)
from rayxkd.teachers.entries import (
    invalid,
    mapping,
    number,
    numbers,
    one_of,
    parse_entries,
    share,
    text,
    whole,
)
from rayxkd.teachers.errors import TeacherError, one_line

_BUILT_BY_NAME = ("timm", "torchvision", "rayxkd")
MOST_CLASSES = 1_000_000
_MOST_FEATURES = 1_000_000


def read_card(
    folder: TeacherFolder, config: bytes | Exception | None
) -> TeacherCard | RejectedCard:
    """Make a card of a folder's listing and the content of its ``config.json``.

    Args:
        folder: the listing.
        config: the file's content, why it cannot be read, or ``None`` where there is none.
    """
    unread = config if isinstance(config, Exception) else None
    config = None if isinstance(config, Exception) else config
    digest = hashlib.sha256(config or b"").hexdigest()
    try:
        for error in folder.refused.values():
            raise error
        if unread is not None:
            raise invalid(f"cannot be read: {one_line(unread)}")
        return _parse(folder, config, digest)
    except TeacherError as error:
        failure = error
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        failure = invalid(f"has an entry of the wrong kind: {error}")
    return RejectedCard(
        folder.teacher,
        folder.repository,
        failure.status,
        failure.reason,
        sum(folder.files.values()),
        digest,
    )


def _parse(folder: TeacherFolder, config: bytes | None, digest: str) -> TeacherCard:
    entries = parse_entries(config)
    if entries.get("auto_map"):
        reason = f"{CARD_FILE} asks for code of the repository (auto_map), which is never run"
        raise TeacherError(Status.UNTRUSTED, reason)
    library = _library(entries)
    weights_bytes = _weights_bytes(library, folder.files)
    pretrained = mapping(entries, "pretrained_cfg")
    num_classes = whole(entries, "num_classes", 2, MOST_CLASSES)
    known_width = entries.get("num_features") is not None
    architecture = entries.get("architecture")
    if library in _BUILT_BY_NAME and not isinstance(architecture, str):
        raise invalid("names no 'architecture'")
    return TeacherCard(
        teacher=folder.teacher,
        repository=folder.repository,
        folder=folder.folder,
        library=library,
        architecture=architecture if isinstance(architecture, str) else None,
        num_classes=num_classes,
        num_features=whole(entries, "num_features", 1, _MOST_FEATURES) if known_width else None,
        label_names=_label_names(entries, num_classes),
        model_args=mapping(entries, "model_args"),
        preprocessing=read_preprocessing(pretrained),
        license=text(pretrained.get("license") or entries.get("license")),
        weights_bytes=weights_bytes,
        card_digest=digest,
        weights_version=folder.versions.get(WEIGHT_FILES[library], ""),
        own_accuracy=share(entries.get(ACCURACY_KEY)),
    )


def _label_names(entries: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
    names = entries.get("label_names") or []
    if not isinstance(names, list):
        raise invalid("has label_names that are not a list")
    if names and len(names) != num_classes:
        raise invalid(f"has {len(names)} label_names for {num_classes} classes")
    return tuple(str(name) for name in names)


def _library(entries: Mapping[str, Any]) -> str:
    if "architectures" in entries and "architecture" not in entries:
        raise TeacherError(
            Status.UNSUPPORTED,
            "this is a transformers folder, which is not read yet: save it in timm's layout",
        )
    library = str(entries.get("library_name", "timm"))
    if library not in WEIGHT_FILES:
        error = unknown_name("library_name", library, WEIGHT_FILES)
        raise TeacherError(Status.UNSUPPORTED, f"{CARD_FILE} has an {error}")
    return library


def _weights_bytes(library: str, files: Mapping[str, int]) -> int:
    wanted = WEIGHT_FILES[library]
    if wanted in files:
        return files[wanted]
    pickles = [name for name in files if name.endswith((".bin", ".pth", ".pt", ".ckpt", ".pkl"))]
    if pickles:
        raise TeacherError(
            Status.UNTRUSTED,
            f"'{pickles[0]}' is a pickle, which can run code when it is read: "
            f"save the weights as {wanted}",
        )
    raise TeacherError(Status.INVALID, f"the folder has no {wanted}")


def read_preprocessing(entries: Mapping[str, Any]) -> Preprocessing:
    """Make a preprocessing of a card's ``pretrained_cfg``.

    Raises:
        TeacherError: ``invalid`` or ``unsupported``.
    """
    default = Preprocessing()
    size = numbers(entries, "input_size", default.input_size)
    if len(size) != 3 or not all(side.is_integer() for side in size):
        raise invalid(f"has an input_size of {list(size)}: give channels, height and width")
    channels, height, width = (int(side) for side in size)
    if channels not in (1, 3) or not 0 < min(height, width) <= max(height, width) <= LARGEST_SIDE:
        raise invalid(f"asks for images of {channels} x {height} x {width}")
    mean = _channels(entries, "mean", default.mean, channels)
    std = _channels(entries, "std", default.std, channels)
    if min(std) <= 0:
        raise invalid("has a std that is not positive")
    crop_pct = entries.get("crop_pct")
    crop_pct = default.crop_pct if crop_pct is None else number("crop_pct", crop_pct)
    if not 0 < crop_pct <= 2 or max(height, width) / crop_pct > 2 * LARGEST_SIDE:
        raise invalid(f"has a crop_pct of {crop_pct}")
    return Preprocessing(
        (channels, height, width),
        mean,
        std,
        one_of(entries, "interpolation", default.interpolation, INTERPOLATIONS),
        crop_pct,
        one_of(entries, "crop_mode", default.crop_mode, CROP_MODES),
    )


def _channels(
    entries: Mapping[str, Any], key: str, default: Sequence[float], channels: int
) -> tuple[float, ...]:
    values = numbers(entries, key, default[:channels])
    if len(values) != channels or not all(math.isfinite(value) for value in values):
        raise invalid(f"has a {key} that does not fit {channels} channels")
    return values
