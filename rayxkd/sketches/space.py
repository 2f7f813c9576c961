"""The common space: where a teacher's classes and a task's classes are compared.

Legend: N images, F features, D dimensions of the space.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rayxkd.data.encoded import ImageBuffer
from rayxkd.errors import UserError
from rayxkd.sketches.settings import THUMBNAIL
from rayxkd.sketches.thumbnail import VERSION, thumbnail_features_ND
from rayxkd.teachers import (
    Forward,
    ProbePixels,
    RejectedCard,
    Teacher,
    TeacherError,
    load_teacher,
    open_repositories,
    predict,
    teacher_digest,
)

DIMENSIONS = 32
# Images that the network looks at together, which bounds the pixels in memory.
_CHUNK = 512
# Of the largest variance; added to all before dividing, so that none becomes all noise.
_FLOOR = 1e-2
_CLIP = 5.0


class Space(Protocol):
    """A way from images to features.

    Attributes:
        digest: SHA-256 of what the features depend on.
    """

    digest: str

    def features_NF(self, images: ImageBuffer) -> NDArray[np.float64]:
        """Features of encoded images."""


class ThumbnailSpace:
    """The feature that needs no network."""

    digest = hashlib.sha256(f"{THUMBNAIL} {VERSION}".encode()).hexdigest()

    def features_NF(self, images: ImageBuffer) -> NDArray[np.float64]:
        """See :func:`thumbnail_features_ND`."""
        return thumbnail_features_ND(images).astype(np.float64)


class TeacherSpace:
    """The features of one teacher (its logits, if it shows none)."""

    def __init__(self, teacher: Teacher, digest: str, batch_size: int | None) -> None:
        self.digest = digest
        self._teacher, self._forward = teacher, Forward(batch_size=batch_size)

    def features_NF(self, images: ImageBuffer) -> NDArray[np.float64]:
        """Features of encoded images.

        Raises:
            UserError: the network fails.
        """
        try:
            chunks = [
                predict(self._teacher, ProbePixels(_Part(images, start)), self._forward)
                for start in range(0, len(images), _CHUNK)
            ]
        except TeacherError as error:
            raise UserError(f"--space {self._teacher.card.teacher}: {error.reason}") from error
        return np.concatenate([chunk.embeddings_ND.numpy() for chunk in chunks])


@dataclass(frozen=True)
class _Part:
    """A chunk of the images."""

    images: ImageBuffer
    start: int

    def __len__(self) -> int:
        return min(_CHUNK, len(self.images) - self.start)

    def decoded(self, place: int) -> Image.Image:
        """One image."""
        return self.images.decoded(self.start + place)


def open_space(address: str, *, batch_size: int | None = None, trust_code: bool = False) -> Space:
    """Open a space.

    Args:
        address: ``thumbnail``, or a folder that holds one teacher.
        batch_size: images in one forward pass; ``None`` for what suits the device.
        trust_code: load formats that can run code.

    Raises:
        UserError: there is no teacher, more than one, or one that cannot be loaded.
    """
    if address == THUMBNAIL:
        return ThumbnailSpace()
    (repository,) = open_repositories([address])
    cards = repository.cards()
    if len(cards) > 1:
        raise UserError(
            f"--space {repository.address} holds {len(cards)} teachers: name the folder of one"
        )
    card = cards[0]
    if isinstance(card, RejectedCard):
        raise UserError(f"--space {repository.address} cannot be loaded: {card.reason}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with repository.weights(card) as weights:
            digest = teacher_digest(card, weights)
            teacher = load_teacher(card, weights, device, trust_code=trust_code)
    except TeacherError as error:
        raise UserError(f"--space {repository.address} cannot be loaded: {error.reason}") from error
    return TeacherSpace(teacher, digest, batch_size)


@dataclass(frozen=True)
class Projection:
    """From features to the space: principal components of the reference images, of unit spread.

    Attributes:
        mean_F: mean feature of the reference images, float64.
        axes_FD: features less their mean, times this, are coordinates; float64.
    """

    mean_F: NDArray[np.float64]
    axes_FD: NDArray[np.float64]

    @classmethod
    def fitted(cls, features_NF: NDArray[np.float64], dimensions: int = DIMENSIONS) -> Projection:
        """Whitened principal components (ours).

        Each coordinate is divided by sqrt(variance + 0.01 largest variance). There are no more
        dimensions than features.
        """
        mean_F = features_NF.mean(axis=0)
        centred_NF = features_NF - mean_F
        variance_F, vectors_FF = np.linalg.eigh(centred_NF.T @ centred_NF / len(features_NF))
        kept = slice(-1, -1 - min(dimensions, len(mean_F)), -1)
        variance_D = np.maximum(variance_F[kept], 0.0)
        spread_D = np.sqrt(variance_D + _FLOOR * variance_D[0])
        if not spread_D.all():
            raise UserError("the reference images are all the same in --space: give others")
        return cls(mean_F, vectors_FF[:, kept] / spread_D)

    def places_ND(self, features_NF: NDArray[np.float64]) -> NDArray[np.float64]:
        """Directions in the space: coordinates, clipped at 5, brought to length 1.

        Raises:
            UserError: another number of features than the projection was fitted to.
        """
        if features_NF.shape[1] != len(self.mean_F):
            raise UserError(
                f"the index's space has {len(self.mean_F)} features, the images "
                f"{features_NF.shape[1]}: make the index anew"
            )
        places_ND = np.clip((features_NF - self.mean_F) @ self.axes_FD, -_CLIP, _CLIP)
        length_N = np.linalg.norm(places_ND, axis=1, keepdims=True)
        unit_ND: NDArray[np.float64] = places_ND / np.maximum(length_N, 1e-12)
        return unit_ND
