"""Students: which network is trained, and its features beside its logits.

Shape suffixes: B images, C channels, H height, W width, M classes, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rayxkd.distill.architectures import LIBRARIES, find_architecture
from rayxkd.errors import UserError
from rayxkd.teachers import Preprocessing
from rayxkd.teachers.errors import one_line
from rayxkd.teachers.loaders.modules import last_linear

_SIDE_OF_OURS = 32
_SIDE_OF_OTHERS = 224
_LARGEST_SIDE = 4096  # that a card may ask for


@dataclass(frozen=True)
class StudentSpec:
    """Everything that is needed to build a student and to write its card.

    Attributes:
        library: ``rayxkd``, ``torchvision`` or ``timm``.
        architecture: the library's name for it.
        num_classes: M.
        model_args: arguments of the architecture.
        preprocessing: how it wants its images.
    """

    library: str
    architecture: str
    num_classes: int
    model_args: Mapping[str, Any] = field(hash=False)
    preprocessing: Preprocessing

    @property
    def name(self) -> str:
        """Library and architecture; :func:`student_spec` understands it."""
        return f"{self.library}/{self.architecture}"

    def card(
        self,
        label_names: Sequence[str],
        license: str | None,
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The content of ``config.json``, by which the student is a teacher itself.

        Args:
            label_names: M names.
            license: of the student, if it has one.
            extra: further entries; they do not replace those of the specification.

        Raises:
            ValueError: another number of names.
        """
        if len(label_names) != self.num_classes:
            raise ValueError(f"{len(label_names)} label names for {self.num_classes} classes")
        wanted = self.preprocessing
        return {
            **(extra or {}),
            "library_name": self.library,
            "architecture": self.architecture,
            "num_classes": self.num_classes,
            "label_names": list(label_names),
            "model_args": dict(self.model_args),
            "pretrained_cfg": {
                "input_size": list(wanted.input_size),
                "mean": list(wanted.mean),
                "std": list(wanted.std),
                "interpolation": wanted.interpolation,
                "crop_pct": wanted.crop_pct,
                "crop_mode": wanted.crop_mode,
                "license": license,
            },
        }


def student_spec(
    name: str, num_classes: int, *, image_size: int | None = None, channels: int = 3
) -> StudentSpec:
    """Look a student up by its name.

    Args:
        name: ``LIBRARY/ARCHITECTURE``, or an architecture of rayxkd, torchvision or timm, looked
            for in that order.
        num_classes: M.
        image_size: height and width in pixels; by default 32 for our networks, 224 for others.
        channels: 1 or 3.

    Raises:
        UserError: no library knows the name, timm is asked for and not installed, no such images,
            or the architecture takes only images of three channels.
    """
    library, architecture = find_architecture(name)
    side = image_size
    if side is None:
        side = _SIDE_OF_OURS if library == "rayxkd" else _SIDE_OF_OTHERS
    if not 0 < side <= _LARGEST_SIDE:
        raise UserError(f"images of {side} pixels: give a size from 1 to {_LARGEST_SIDE}")
    if channels not in (1, 3):
        raise UserError(f"images of {channels} channels: give 1 or 3")
    arguments = dict(LIBRARIES[library].arguments(architecture, side, channels))
    wanted = _preprocessing(library, side, channels)
    return StudentSpec(library, architecture, num_classes, arguments, wanted)


class StudentNetwork(nn.Module):
    """A classifier that shows its features too.

    Attributes:
        module: the bare network. It returns logits, and its ``state_dict`` is what is saved.
        num_features: D, or ``None`` where the last layer is not linear in some vector.
    """

    module: nn.Module
    num_features: int | None

    def __init__(self, module: nn.Module, num_classes: int, example_BCHW: Tensor) -> None:
        """Find the head of a network by trying it on example images.

        Args:
            module: returns logits [B, M]. Its head is replaced by one that shares its weights.
            num_classes: M.
            example_BCHW: images as it will see them; at least two.

        Raises:
            UserError: the network fails on these images, or its logits have another shape.
        """
        super().__init__()
        self.module = module
        self.num_features = None
        # In a tuple, for a module as an attribute would have its weights in the state twice.
        self._heads: tuple[_OpenHead, ...] = ()
        training = module.training
        module.eval()
        with torch.no_grad():
            logits_BM = _logits_of(module, num_classes, example_BCHW)
            self._open_head(num_classes, example_BCHW, logits_BM)
        module.train(training)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B, M], and what the last linear layer makes them of, [B, D], or ``None``."""
        if not self._heads:
            return self.module(images_BCHW), None
        (head,) = self._heads
        head.is_open = True
        try:
            both = self.module(images_BCHW)
        finally:
            head.is_open = False
        return both[:, : head.out_features], both[:, head.out_features :]

    def _open_head(self, num_classes: int, example_BCHW: Tensor, logits_BM: Tensor) -> None:
        """Replace the last linear layer, and keep it so where it explains the logits."""
        head = last_linear(self.module, num_classes)
        # A subclass may do more than multiply.
        if type(head) is not nn.Linear:
            return
        name = next(name for name, layer in self.module.named_modules() if layer is head)
        self._heads = (_OpenHead(head),)
        self.module.set_submodule(name, self._heads[0])
        try:
            shown_BM, features_BD = self(example_BCHW)
            explains = torch.allclose(head(features_BD), logits_BM, rtol=1e-4, atol=1e-5)
            explains = explains and shown_BM.shape == logits_BM.shape
        except RuntimeError:  # something behind the head wants exactly M numbers
            explains = False
        if explains:
            self.num_features = head.in_features
        else:
            self._heads = ()
            self.module.set_submodule(name, head)


class _OpenHead(nn.Linear):
    """A linear layer that, while it is open, returns its output and its input side by side.

    What goes into the head so comes out at the end of the network as a plain function of the
    images: nothing is kept between calls, which hooks would do, and which compilers, exporters and
    data-parallel wrappers each treat in their own way.
    """

    def __init__(self, linear: nn.Linear) -> None:
        # On no device: it draws no random numbers there.
        super().__init__(
            linear.in_features, linear.out_features, linear.bias is not None, device="meta"
        )
        self.weight, self.bias = linear.weight, linear.bias
        self.is_open = False

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        return torch.cat([output, input], dim=-1) if self.is_open else output


def build_student(spec: StudentSpec) -> StudentNetwork:
    """Build a student with random weights, drawn from torch's global generator.

    Nothing is downloaded.

    Raises:
        UserError: it cannot be built, or does not take images of the specification's size.
    """
    create = LIBRARIES[spec.library].create
    try:
        module = create(spec.architecture, num_classes=spec.num_classes, **spec.model_args)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"student {spec.name} cannot be built: {one_line(error)}") from error
    example_BCHW = torch.linspace(-1, 1, 2 * _numbers(spec)).view(2, *spec.preprocessing.input_size)
    try:
        return StudentNetwork(module, spec.num_classes, example_BCHW)
    except UserError as error:
        raise UserError(f"student {spec.name}: {error}") from error


def _numbers(spec: StudentSpec) -> int:
    channels, height, width = spec.preprocessing.input_size
    return channels * height * width


def _logits_of(module: nn.Module, num_classes: int, example_BCHW: Tensor) -> Tensor:
    size = " x ".join(map(str, example_BCHW.shape[1:]))
    try:
        logits_BM = module(example_BCHW)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"it does not take images of {size}: {one_line(error)}") from error
    expected = (len(example_BCHW), num_classes)
    if not isinstance(logits_BM, Tensor) or logits_BM.shape != expected:
        raise UserError(f"it does not answer images of {size} with {num_classes} logits each")
    return logits_BM


def _preprocessing(library: str, side: int, channels: int) -> Preprocessing:
    default = Preprocessing()
    mean, std = ((0.5,) * 3, (0.25,) * 3) if library == "rayxkd" else (default.mean, default.std)
    if channels == 1:
        mean, std = (round(sum(mean) / 3, 3),), (round(sum(std) / 3, 3),)
    return Preprocessing((channels, side, side), mean, std, "bilinear", crop_pct=1.0)
