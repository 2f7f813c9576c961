"""A loaded teacher, and what it says of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rayxkd.status import Status
from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.errors import TeacherError, memory_refused, one_line
from rayxkd.teachers.preprocess import ProbePixels
from rayxkd.transport.predictions import Predictions


class Teacher(ABC):
    """A classifier that is ready to predict.

    Attributes:
        card: what it is.
        device: where it lies.
        parameters: how many numbers it has.
        head_KD: weight rows of its last layer where that is linear in the features, else ``None``.
    """

    card: TeacherCard
    device: torch.device
    parameters: int
    head_KD: Tensor | None = None
    memory_format: torch.memory_format = torch.contiguous_format

    @abstractmethod
    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B, K], and features [B, D] where the teacher shows them."""


class ModuleTeacher(Teacher):
    """A module whose last linear layer tells the features: they are what goes into it."""

    # Convolutions run up to twice as fast with the channels last, on CPUs and on GPUs.
    memory_format = torch.channels_last

    def __init__(
        self, card: TeacherCard, module: nn.Module, head: nn.Module | None, device: torch.device
    ) -> None:
        self.card = card
        self.device = device
        if any(parameter.ndim == 5 for parameter in module.parameters()):
            self.memory_format = torch.contiguous_format  # the other one is for images alone
        self.module = module.eval().to(device).to(memory_format=self.memory_format)
        self.parameters = sum(p.numel() for p in module.parameters())
        self._captured: list[Tensor] = []
        if isinstance(head, nn.Linear):
            self.head_KD = head.weight.detach().float().cpu()
            head.register_forward_pre_hook(self._capture)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Teacher.forward`."""
        self._captured.clear()
        logits = self.module(images_BCHW)
        # A head that is applied before pooling sees more than one vector an image.
        shape = (len(images_BCHW), 2)
        vectors = [seen for seen in self._captured if (len(seen), seen.ndim) == shape]
        return logits, vectors[-1] if vectors else None

    def _capture(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._captured.append(inputs[0])


_MOST_AT_ONCE = 64
# More at once do not make a CPU faster, but take memory: 64 images of 224 pixels in a MobileNetV2
# are as fast as 16, and take 1.3 GiB more.
_CPU_PIXELS = 16 * 224 * 224


@dataclass(frozen=True)
class Forward:
    """How the forward pass is run.

    Attributes:
        batch_size: images at once, halved when memory runs out; ``None`` for what suits the device.
        autocast: mixed precision on GPUs; CPUs always compute in float32.
    """

    batch_size: int | None = None
    autocast: bool = True

    def images_at_once(self, teacher: Teacher) -> int:
        """For the first try."""
        if self.batch_size is not None:
            return self.batch_size
        if teacher.device.type != "cpu":
            return _MOST_AT_ONCE
        _, height, width = teacher.card.preprocessing.input_size
        return max(1, min(_MOST_AT_ONCE, _CPU_PIXELS // (height * width)))


def predict(teacher: Teacher, pixels: ProbePixels, how: Forward | None = None) -> Predictions:
    """Run a teacher over the probe set.

    Returns:
        Predictions on the CPU in float32, with the card's class names if it has one for each class.

    Raises:
        TeacherError: the model raises, runs out of memory at one image, answers with another
            number of classes than its card says, or with numbers that are not finite.
    """
    how = how or Forward()
    batch_size = min(how.images_at_once(teacher), len(pixels))
    while True:
        try:
            predictions = _predict(teacher, pixels, how, batch_size)
            break
        except torch.OutOfMemoryError as error:
            if batch_size == 1:
                reason = "one image does not fit into the memory of the device"
                raise TeacherError(Status.OUT_OF_MEMORY, reason) from error
            batch_size //= 2
            torch.cuda.empty_cache()
        except TeacherError:
            raise
        except Exception as error:
            if memory_refused(error):
                raise TeacherError(Status.OUT_OF_MEMORY, memory_refused(error)) from error
            reason = f"the forward pass fails: {one_line(error)}"
            raise TeacherError(Status.INVALID, reason) from error
    if not predictions.is_finite:
        raise TeacherError(Status.INVALID, "its predictions are not finite (NaN or infinity)")
    return predictions


@torch.inference_mode()
def _predict(teacher: Teacher, pixels: ProbePixels, how: Forward, batch_size: int) -> Predictions:
    logits, features = [], []
    device_type = teacher.device.type
    for start in range(0, len(pixels), batch_size):
        images = pixels.batch(teacher.card.preprocessing, slice(start, start + batch_size))
        images = images.to(teacher.device, memory_format=teacher.memory_format)
        with torch.autocast(device_type, enabled=how.autocast and device_type == "cuda"):
            batch_logits, batch_features = teacher.forward(images)
        _check_logits(teacher.card, batch_logits, len(images))
        logits.append(batch_logits.float().cpu())
        features.append(None if batch_features is None else batch_features.float().cpu())
    known = [batch for batch in features if batch is not None]
    features_ND = torch.cat(known) if len(known) == len(features) else None
    return as_predictions(teacher, torch.cat(logits), features_ND)


def as_predictions(teacher: Teacher, logits_NK: Tensor, features_ND: Tensor | None) -> Predictions:
    """What a teacher said, with its head and its class names where they fit."""
    head_KD = teacher.head_KD
    if features_ND is None or head_KD is None or head_KD.shape[1] != features_ND.shape[1]:
        head_KD = None
    names = teacher.card.label_names
    return Predictions(
        logits_NK, features_ND, head_KD, names if len(names) == teacher.card.num_classes else None
    )


def _check_logits(card: TeacherCard, logits: Tensor, images: int) -> None:
    if not isinstance(logits, Tensor) or logits.shape != (images, card.num_classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TeacherError(
            Status.INVALID,
            f"its logits for {images} images are {shape}; its card says {card.num_classes} classes",
        )
