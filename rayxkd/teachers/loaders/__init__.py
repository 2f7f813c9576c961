"""Loading teachers without running anything of their repository."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from rayxkd.status import Status
from rayxkd.teachers.card import TRANSFORMERS, TeacherCard
from rayxkd.teachers.errors import TeacherError, memory_refused, one_line
from rayxkd.teachers.loaders.modules import load_network, load_timm, load_torchvision
from rayxkd.teachers.loaders.onnx import load_onnx
from rayxkd.teachers.loaders.pretrained import (
    load_timm_pretrained,
    load_timm_untrained,
    load_torchvision_untrained,
    load_torchvision_weights,
)
from rayxkd.teachers.loaders.programs import (
    load_exported,
    load_exported_trusted,
    load_torchscript,
)
from rayxkd.teachers.loaders.safetensors_header import read_header
from rayxkd.teachers.loaders.transformers import load_transformers
from rayxkd.teachers.teacher import Teacher

__all__ = ["load_teacher", "teacher_digest"]

Loader = Callable[[TeacherCard, Path, torch.device], Teacher]

_SAFE: dict[str, Loader] = {
    "timm": load_timm,
    "torchvision": load_torchvision,
    "rayxkd": load_network,
    TRANSFORMERS: load_transformers,
    "torch.export": load_exported,
    "onnx": load_onnx,
    # Those of a library's own catalogue, which no card of a folder can name.
    "torchvision weights": load_torchvision_weights,
    "torchvision untrained": load_torchvision_untrained,
    "timm pretrained": load_timm_pretrained,
    "timm untrained": load_timm_untrained,
}
_TRUSTED: dict[str, Loader] = {
    **_SAFE,
    "torch.export": load_exported_trusted,
    "torchscript": load_torchscript,
}


def load_teacher(
    card: TeacherCard, weights: Path, device: torch.device, *, trust_code: bool = False
) -> Teacher:
    """Build a teacher and load its weights.

    Args:
        card: what it is.
        weights: its weights file on this machine.
        device: where it shall lie.
        trust_code: allow formats that can run code when they are read.

    Raises:
        TeacherError: it cannot be loaded, with status and reason.
    """
    loader = (_TRUSTED if trust_code else _SAFE).get(card.library)
    if loader is None:
        raise TeacherError(
            Status.UNTRUSTED,
            f"{card.library} files can run code when they are read: trust the repository with "
            "--trust-code, or export the network with torch.export.save",
        )
    try:
        return loader(card, weights, device)
    except torch.OutOfMemoryError as error:
        reason = "its weights do not fit into the memory of the device"
        raise TeacherError(Status.OUT_OF_MEMORY, reason) from error
    except (MemoryError, TeacherError) as error:
        # Loaders take whatever torch raises for a damaged file.
        refused = memory_refused(error) or memory_refused(error.__cause__)
        if not refused:
            raise
        raise TeacherError(Status.OUT_OF_MEMORY, refused) from error


def teacher_digest(card: TeacherCard, weights: Path) -> str:
    """SHA-256 over the digests of the card and of the weights.

    Args:
        card: what it is, and what the SHA-256 of its weights must begin with, if anything.
        weights: the weights file on this machine.

    Raises:
        TeacherError: the weights cannot be read; ``untrusted``: they are not those of the pin.
    """
    if card.weights_file.endswith(".safetensors"):
        read_header(weights)  # a hole of terabytes takes no space, but hours to read
    try:
        with weights.open("rb") as file:
            weights_digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = f"its weights cannot be read: {one_line(error)}"
        raise TeacherError(Status.INVALID, reason) from error
    if not weights_digest.startswith(card.pin):
        reason = f"its weights have the SHA-256 {weights_digest}, the pinned one is {card.pin}"
        raise TeacherError(Status.UNTRUSTED, reason)
    return hashlib.sha256(f"{card.card_digest}:{weights_digest}".encode()).hexdigest()
