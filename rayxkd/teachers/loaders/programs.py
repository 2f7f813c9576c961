"""Teachers that bring their own graph: ``torch.export`` programs, and TorchScript if trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rayxkd.status import Status
from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.foreign import invalid_where_it_fails
from rayxkd.teachers.loaders.limits import check_finite
from rayxkd.teachers.loaders.vetting import vet_program
from rayxkd.teachers.teacher import Teacher


class ProgramTeacher(Teacher):
    """A program that returns logits, or (logits, features).

    It is called with images [B, C, H, W]; one with a fixed batch is fed in full batches.
    """

    def __init__(
        self,
        card: TeacherCard,
        program: Callable[[Tensor], Any],
        device: torch.device,
        fixed_batch: int | None,
        parameters: int,
    ) -> None:
        self.card = card
        self.device = device
        self._program = program
        self._fixed_batch = fixed_batch
        self.parameters = parameters

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Teacher.forward`."""
        if self._fixed_batch is None:
            return self._split(self._program(images_BCHW))
        parts = [self._run_padded(chunk) for chunk in torch.split(images_BCHW, self._fixed_batch)]
        logits = torch.cat([logits for logits, _ in parts])
        features = [features for _, features in parts if features is not None]
        return logits, torch.cat(features) if features else None

    def _run_padded(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        count, missing = len(images_BCHW), int(self._fixed_batch or 0) - len(images_BCHW)
        padding = images_BCHW[-1:].expand(missing, -1, -1, -1)
        logits, features = self._split(self._program(torch.cat([images_BCHW, padding])))
        return logits[:count], None if features is None else features[:count]

    def _split(self, output: Any) -> tuple[Tensor, Tensor | None]:
        """Logits, and features of the width that the card says where there are two outputs."""
        logits, features = _split(output)
        told = self.card.num_features
        if features is not None and told is not None and told != features.shape[-1]:
            reason = (
                f"its features are {features.shape[-1]} wide; its card says num_features {told}"
            )
            raise TeacherError(Status.INVALID, reason)
        return logits, features


def load_exported(card: TeacherCard, weights: Path, device: torch.device) -> ProgramTeacher:
    """A ``torch.export`` program, after a check that loading it runs nothing.

    Raises:
        TeacherError: it is no such program, or one that could run code.
    """
    vet_program(weights)
    return _load_exported(card, weights, device)


def load_exported_trusted(card: TeacherCard, weights: Path, device: torch.device) -> ProgramTeacher:
    """The same without the check, for repositories that the user trusts."""
    return _load_exported(card, weights, device)


def load_torchscript(card: TeacherCard, weights: Path, device: torch.device) -> ProgramTeacher:
    """A TorchScript archive; only where the user trusts the repository.

    Raises:
        TeacherError: it is none.
    """
    with invalid_where_it_fails("it is no TorchScript archive"):
        program = torch.jit.load(str(weights), map_location=device)  # type: ignore[no-untyped-call]
    program.eval()
    return ProgramTeacher(card, program, device, None, _count(program))


def _load_exported(card: TeacherCard, weights: Path, device: torch.device) -> ProgramTeacher:
    with invalid_where_it_fails("it is no torch.export program that this torch can read"):
        with weights.open("rb") as file:
            exported = torch.export.load(file)
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            exported = move_to_device_pass(exported, device)
        # Guards are Python text in the file; without them nothing of it is compiled.
        program = exported.module(check_guards=False)
    check_finite(program)
    return ProgramTeacher(card, program, device, _fixed_batch(exported), _count(program))


def _count(program: nn.Module) -> int:
    return sum(parameter.numel() for parameter in program.parameters())


def _fixed_batch(exported: torch.export.ExportedProgram) -> int | None:
    """The batch size that the program was exported with, ``None`` where it takes any."""
    inputs = set(exported.graph_signature.user_inputs)
    for node in exported.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            image = node.meta["val"]
            if not isinstance(image, Tensor) or image.ndim != 4:
                break
            return image.shape[0] if isinstance(image.shape[0], int) else None
    raise TeacherError(Status.INVALID, "the program takes no image")


def _split(output: Any) -> tuple[Tensor, Tensor | None]:
    """Logits, and features where there are two outputs."""
    parts = output if isinstance(output, Sequence) else [output]
    if len(parts) not in (1, 2) or not all(isinstance(part, Tensor) for part in parts):
        reason = "the program must return logits, or (logits, features)"
        raise TeacherError(Status.INVALID, reason)
    return parts[0], parts[1] if len(parts) == 2 else None
