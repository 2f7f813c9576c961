"""What the user knows of class names: vectors that a learned cost can shrink towards.

Legend: C names, D dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayxkd.data import ClassVectors, read_class_vectors
from rayxkd.errors import UserError, some_of
from rayxkd.teachers import Card, TeacherCard

_SHOWN = 3


@dataclass(frozen=True)
class NameVectors:
    """Class names and their vectors.

    One NumPy matrix: Ray's object store gives it to every worker of a node without a copy.

    Attributes:
        names: every name once.
        vectors_CD: their vectors, float32 or float64, finite.
    """

    names: tuple[str, ...]
    vectors_CD: NDArray[np.floating[Any]]

    @property
    def digest(self) -> str:
        """SHA-256 over names and vectors as float64, whatever their order and the file's kind."""
        digest = hashlib.sha256(f"{self.vectors_CD.shape}".encode())
        for name, vector_D in sorted(self.by_name().items()):
            encoded = name.encode("utf-8", "surrogatepass")
            digest.update(f"{len(encoded)}:".encode() + encoded)
            digest.update(vector_D.astype("<f8").tobytes())
        return digest.hexdigest()

    def by_name(self) -> ClassVectors:
        """Views of the rows."""
        return dict(zip(self.names, self.vectors_CD, strict=True))


def open_name_vectors(address: str, target_names: Sequence[str]) -> NameVectors:
    """Read ``--class-vectors``.

    Args:
        address: see :func:`rayxkd.data.read_class_vectors`.
        target_names: the target classes; every one needs a vector.

    Raises:
        UserError: it cannot be read, or a target class has no vector.
    """
    vectors = read_class_vectors(address)
    missing = [name for name in target_names if name not in vectors]
    if missing:
        raise UserError(
            f"--class-vectors {address} has no vector for {len(missing)} of the task's "
            f"{len(target_names)} classes ({some_of(missing)}): add them under exactly these names"
        )
    return NameVectors(tuple(vectors), np.stack(list(vectors.values())))


def without_vectors(cards: Sequence[Card], vectors: NameVectors) -> str:
    """Which teachers ``--class-vectors`` cannot help, and for want of which names.

    Returns:
        A line for the user, empty if there are none.
    """
    known = set(vectors.names)
    teachers = [card for card in cards if isinstance(card, TeacherCard)]
    missing = {
        card.teacher: [name for name in card.label_names if name not in known]
        for card in teachers
        if not all_known(card.label_names, known)
    }
    if not missing:
        return ""
    reasons = [
        f"{teacher} ({some_of(names) if names else 'names no classes'})"
        for teacher, names in list(missing.items())[:_SHOWN]
    ]
    return (
        f"--class-vectors: {len(missing)} of {len(teachers)} teachers have classes without a "
        f"vector and are assessed without: {', '.join(reasons)}"
        f"{', ...' if len(missing) > _SHOWN else ''}"
    )


def all_known(names: Sequence[str], vectors: Container[str]) -> bool:
    """Whether a teacher names its classes and every name has a vector."""
    return bool(names) and all(name in vectors for name in names)
