"""Loading teachers without running anything of their repository."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from rayxkd.cache import LocalCache
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.errors import TeacherError, memory_refused, one_line
from rayxkd.teachers.listing import check_local
from rayxkd.teachers.loaders.modules import load_network, load_timm, load_torchvision
from rayxkd.teachers.loaders.programs import (
    load_exported,
    load_exported_trusted,
    load_torchscript,
)
from rayxkd.teachers.loaders.safetensors_header import read_header
from rayxkd.teachers.teacher import Teacher

__all__ = ["load_teacher", "local_weights", "teacher_digest"]

Loader = Callable[[TeacherCard, Path, torch.device], Teacher]

_SAFE: dict[str, Loader] = {
    "timm": load_timm,
    "torchvision": load_torchvision,
    "rayxkd": load_network,
    "torch.export": load_exported,
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


@contextmanager
def local_weights(
    storage: Storage, card: TeacherCard, cache: LocalCache | None = None, version: str = ""
) -> Iterator[Path]:
    """The weights file as a local path.

    Args:
        storage: the repository's files.
        card: whose weights.
        cache: where copies of remote files are kept; without, a copy is removed afterwards.
        version: the file system's mark of the file: another one is copied anew.

    Raises:
        TeacherError: it cannot be read.
    """
    if storage.is_local:
        path = storage.local_path(card.weights_file)
        if not os.path.lexists(path):
            raise TeacherError(Status.INVALID, f"the weights file {path.name} has disappeared")
        check_local(storage, path)
        yield path
        return
    if cache is not None:
        key = f"{storage.url_of(card.weights_file)}\n{version}"
        with cache.file(key, lambda path: _download(storage, card, path)) as path:
            yield path
        return
    with tempfile.TemporaryDirectory(prefix="rayxkd-") as folder:
        path = Path(folder) / Path(card.weights_file).name
        _download(storage, card, path)
        yield path


def _download(storage: Storage, card: TeacherCard, path: Path) -> None:
    try:
        storage.download(card.weights_file, path)
    except OSError as error:
        reason = f"its weights cannot be read: {one_line(error)}"
        raise TeacherError(Status.INVALID, reason) from error


def teacher_digest(card_digest: str, weights: Path, pin: str = "") -> str:
    """SHA-256 over the digests of the card and of the weights.

    Args:
        card_digest: SHA-256 of the card.
        weights: the weights file.
        pin: the SHA-256 that it must have, if any.

    Raises:
        TeacherError: the weights cannot be read; ``untrusted``: they are not those of the pin.
    """
    if weights.suffix == ".safetensors":
        read_header(weights)  # a hole of terabytes takes no space, but hours to read
    try:
        with weights.open("rb") as file:
            weights_digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = f"its weights cannot be read: {one_line(error)}"
        raise TeacherError(Status.INVALID, reason) from error
    if pin and weights_digest != pin:
        reason = f"its weights have the SHA-256 {weights_digest}, the pinned one is {pin}"
        raise TeacherError(Status.UNTRUSTED, reason)
    return hashlib.sha256(f"{card_digest}:{weights_digest}".encode()).hexdigest()
