"""The teacher card: what is known of a teacher without loading it (``config.json``)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError, one_line, shortened
from rayxkd.teachers.listing import LARGEST_CARD, card_too_large

CARD_FILE = "config.json"
# The weights that are loaded, and for each library which of them.
WEIGHT_FILES = {
    "timm": "model.safetensors",
    "torchvision": "model.safetensors",
    "rayxkd": "model.safetensors",
    "torch.export": "model.pt2",
    "torchscript": "model.pt",
}
# The teacher's accuracy on its own classes, where whoever made it says so.
ACCURACY_KEY = "accuracy"
_BUILT_BY_NAME = ("timm", "torchvision", "rayxkd")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROP_MODES = ("center", "squash")
_LARGEST_SIDE = 4096
_MOST_CLASSES = 1_000_000
_MOST_FEATURES = 1_000_000
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Preprocessing:
    """How a teacher wants its images.

    Attributes:
        input_size: channels (1 or 3), height, width in pixels.
        mean: subtracted from each channel of an image in [0, 1].
        std: each channel is divided by it then.
        interpolation: one of ``INTERPOLATIONS``.
        crop_pct: side of the crop over side of the resized image.
        crop_mode: ``center`` keeps the aspect ratio and loses the borders, ``squash`` neither.
    """

    input_size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    crop_pct: float = 0.875
    crop_mode: str = "center"


@dataclass(frozen=True)
class TeacherCard:
    """One teacher of a repository, as its card and its listing say.

    Attributes:
        teacher: name that is unique on a leaderboard.
        repository: address of the repository.
        folder: the teacher's folder, relative to the repository.
        library: who builds it: a key of ``WEIGHT_FILES``.
        architecture: the library's name for it; ``None`` for programs.
        num_classes: K.
        num_features: D, where the card says so.
        label_names: K names, or none.
        model_args: arguments of the architecture.
        preprocessing: how it wants its images.
        license: as the card says.
        weights_bytes: size of the weights file.
        weights_version: the file system's mark of it, which changes when the file does.
        card_digest: SHA-256 of ``config.json``.
        pin: what the weights' SHA-256 must begin with; empty where nothing is demanded.
        own_accuracy: on its own classes, in [0, 1], where the card says so.
        weights_name: the weights file's own name; empty for the one of its library.
    """

    teacher: str
    repository: str
    folder: str
    library: str
    architecture: str | None
    num_classes: int
    num_features: int | None
    label_names: tuple[str, ...]
    model_args: Mapping[str, Any] = field(hash=False)
    preprocessing: Preprocessing
    license: str | None
    weights_bytes: int
    card_digest: str
    weights_version: str = ""
    pin: str = ""
    own_accuracy: float | None = None
    weights_name: str = ""

    @property
    def weights_file(self) -> str:
        """The weights, relative to the repository."""
        name = self.weights_name or WEIGHT_FILES[self.library]
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True)
class RejectedCard:
    """A folder that should hold a teacher, but cannot be assessed: a row with its reason.

    Attributes:
        teacher: as in :class:`TeacherCard`.
        repository: likewise.
        status: ``invalid``, ``unsupported`` or ``untrusted``.
        reason: why, in a sentence.
        weights_bytes: size of the files that were found.
        card_digest: SHA-256 of ``config.json``, of nothing where there is none.
    """

    teacher: str
    repository: str
    status: Status
    reason: str
    weights_bytes: int
    card_digest: str


@dataclass(frozen=True)
class TeacherFolder:
    """A folder of a repository as its listing shows it.

    Attributes:
        teacher: name that is unique on a leaderboard.
        repository: address of the repository.
        folder: relative to the repository.
        files: sizes in bytes of the folder's own files, by name.
        versions: the file system's marks of weights among them, by name.
        refused: files that may not be read, by name, and why.
    """

    teacher: str
    repository: str
    folder: str
    files: Mapping[str, int]
    versions: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, TeacherError] = field(default_factory=dict)


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
            raise _invalid(f"cannot be read: {one_line(unread)}")
        return _parse(folder, config, digest)
    except TeacherError as error:
        failure = error
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        failure = _invalid(f"has an entry of the wrong kind: {error}")
    return RejectedCard(
        folder.teacher,
        folder.repository,
        failure.status,
        failure.reason,
        sum(folder.files.values()),
        digest,
    )


def _parse(folder: TeacherFolder, config: bytes | None, digest: str) -> TeacherCard:
    entries = _entries(config)
    if entries.get("auto_map"):
        reason = f"{CARD_FILE} asks for code of the repository (auto_map), which is never run"
        raise TeacherError(Status.UNTRUSTED, reason)
    library = _library(entries)
    weights_bytes = _weights_bytes(library, folder.files)
    pretrained = _mapping(entries, "pretrained_cfg")
    num_classes = _whole(entries, "num_classes", 2, _MOST_CLASSES)
    known_width = entries.get("num_features") is not None
    architecture = entries.get("architecture")
    if library in _BUILT_BY_NAME and not isinstance(architecture, str):
        raise _invalid("names no 'architecture'")
    return TeacherCard(
        teacher=folder.teacher,
        repository=folder.repository,
        folder=folder.folder,
        library=library,
        architecture=architecture if isinstance(architecture, str) else None,
        num_classes=num_classes,
        num_features=_whole(entries, "num_features", 1, _MOST_FEATURES) if known_width else None,
        label_names=_label_names(entries, num_classes),
        model_args=_mapping(entries, "model_args"),
        preprocessing=read_preprocessing(pretrained),
        license=_text(pretrained.get("license") or entries.get("license")),
        weights_bytes=weights_bytes,
        card_digest=digest,
        weights_version=folder.versions.get(WEIGHT_FILES[library], ""),
        own_accuracy=_share(entries.get(ACCURACY_KEY)),
    )


def _entries(config: bytes | None) -> dict[str, Any]:
    if config is None:
        raise TeacherError(Status.INVALID, f"the folder has no {CARD_FILE}")
    if len(config) > LARGEST_CARD:
        raise card_too_large(CARD_FILE, len(config))
    try:
        entries = json.loads(config.decode("utf-8-sig"))
        if b"\\u" in config:  # half a character in an escape: no table can hold it
            json.dumps(entries, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _invalid(f"is not JSON: {error}") from error
    if not isinstance(entries, dict):
        raise _invalid("is not a JSON object")
    return entries


def _label_names(entries: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
    names = entries.get("label_names") or []
    if not isinstance(names, list):
        raise _invalid("has label_names that are not a list")
    if names and len(names) != num_classes:
        raise _invalid(f"has {len(names)} label_names for {num_classes} classes")
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
    size = _numbers(entries, "input_size", default.input_size)
    if len(size) != 3 or not all(side.is_integer() for side in size):
        raise _invalid(f"has an input_size of {list(size)}: give channels, height and width")
    channels, height, width = (int(side) for side in size)
    if channels not in (1, 3) or not 0 < min(height, width) <= max(height, width) <= _LARGEST_SIDE:
        raise _invalid(f"asks for images of {channels} x {height} x {width}")
    mean = _channels(entries, "mean", default.mean, channels)
    std = _channels(entries, "std", default.std, channels)
    if min(std) <= 0:
        raise _invalid("has a std that is not positive")
    crop_pct = entries.get("crop_pct")
    crop_pct = default.crop_pct if crop_pct is None else _number("crop_pct", crop_pct)
    if not 0 < crop_pct <= 2 or max(height, width) / crop_pct > 2 * _LARGEST_SIDE:
        raise _invalid(f"has a crop_pct of {crop_pct}")
    return Preprocessing(
        (channels, height, width),
        mean,
        std,
        _one_of(entries, "interpolation", default.interpolation, INTERPOLATIONS),
        crop_pct,
        _one_of(entries, "crop_mode", default.crop_mode, CROP_MODES),
    )


def _channels(
    entries: Mapping[str, Any], key: str, default: Sequence[float], channels: int
) -> tuple[float, ...]:
    values = _numbers(entries, key, default[:channels])
    if len(values) != channels or not all(math.isfinite(value) for value in values):
        raise _invalid(f"has a {key} that does not fit {channels} channels")
    return values


def _numbers(entries: Mapping[str, Any], key: str, default: Sequence[float]) -> tuple[float, ...]:
    values = default if entries.get(key) is None else entries[key]
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise _invalid(f"needs a list of numbers for '{key}', not {values!r}")
    return tuple(_number(key, value) for value in values)


def _number(key: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _invalid(f"needs numbers for '{key}', not {value!r}")
    return float(value)


def _one_of(entries: Mapping[str, Any], key: str, default: str, known: Sequence[str]) -> str:
    value = str(entries.get(key) or default)
    if value not in known:
        raise TeacherError(
            Status.UNSUPPORTED, f"{CARD_FILE} has an {unknown_name(key, value, known)}"
        )
    return value


def _whole(entries: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = entries.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _invalid(f"needs a '{key}' from {least} to {most}, not {value!r}")
    return value


def _mapping(entries: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = {} if entries.get(key) is None else entries[key]
    if not isinstance(value, dict):
        raise _invalid(f"has a '{key}' that is not an object")
    return value


def _share(value: Any) -> float | None:
    """A number in [0, 1], if it is one."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _text(value: Any) -> str | None:
    """A short text for a table."""
    return None if value is None else shortened(str(value), _LONGEST_TEXT)


def _invalid(what: str) -> TeacherError:
    return TeacherError(Status.INVALID, f"{CARD_FILE} {what}")
