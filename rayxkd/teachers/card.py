"""The teacher card: what is known of a teacher without loading it (``config.json``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError

CARD_FILE = "config.json"
# Names one of several weights files in a folder.
WEIGHTS_KEY = "weights_file"
# Beside it in folders of transformers: how images are prepared.
PREPROCESSOR_FILE = "preprocessor_config.json"
TRANSFORMERS = "transformers"
# The weights that are loaded, and for each library which of them.
WEIGHT_FILES = {
    "timm": "model.safetensors",
    "torchvision": "model.safetensors",
    "rayxkd": "model.safetensors",
    TRANSFORMERS: "model.safetensors",
    "torch.export": "model.pt2",
    "torchscript": "model.pt",
    "onnx": "model.onnx",
}
# What torch.save is asked to call its files: those of tensors alone are read, too.
PYTORCH_MODEL = "pytorch_model.bin"
PICKLE_SUFFIXES = (".bin", ".pth", ".pt", ".ckpt", ".pth.tar")
WEIGHT_SUFFIXES = (".safetensors", ".pt2", ".onnx", *PICKLE_SUFFIXES)
# The teacher's accuracy on its own classes, where whoever made it says so.
ACCURACY_KEY = "accuracy"
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
CROP_MODES = ("center", "squash", "border")
LARGEST_SIDE = 4096
MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Preprocessing:
    """How a teacher wants its images.

    Attributes:
        input_size: channels (1 or 3), height, width in pixels.
        mean: subtracted from each channel of an image in [0, 1].
        std: each channel is divided by it then.
        interpolation: one of ``INTERPOLATIONS``.
        crop_pct: side of the crop over side of the resized image.
        crop_mode: ``center`` keeps the aspect ratio and loses the borders, ``squash`` neither;
            ``border`` keeps both and adds borders of the mean colour.
        resize: height and width before the crop, where they are told in pixels; ``center`` makes
            the shorter side of the image as long as the longer of them.
        floor_margin: an odd number of pixels is cut with the smaller half before the middle, as
            transformers does; otherwise with the even half, as torchvision does.
        bgr: the channels are given in the order blue, green, red.
    """

    input_size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    resize: tuple[int, int] | None = None
    floor_margin: bool = False
    bgr: bool = False


@dataclass(frozen=True)
class CardContent:
    """What a card says, wherever it lies; the attributes are those of :class:`TeacherCard`."""

    architecture: str | None
    num_classes: int
    num_features: int | None
    label_names: tuple[str, ...]
    model_args: Mapping[str, Any]
    preprocessing: Preprocessing
    license: str | None
    own_accuracy: float | None = None


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
        card_digest: SHA-256 of ``config.json``, or over the digests of both files of transformers.
        pin: what the weights' SHA-256 must begin with; empty where nothing is demanded.
        own_accuracy: on its own classes, in [0, 1], where the card says so.
        weights_name: the weights file's own name; empty for the one that its library prefers.
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
        """The weights, relative to the repository; the folder where a library has no file."""
        name = self.weights_name or WEIGHT_FILES.get(self.library, "")
        return "/".join(part for part in (self.folder, name) if part)

    @property
    def mark(self) -> str:
        """Changes with the card or the weights; the weights are not read for it."""
        return f"{self.card_digest[:16]}:{self.weights_version}"


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
