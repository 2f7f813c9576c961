"""What the teachers' predictions are transported to, if not to the labels: a student's."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import torch
from numpy.typing import NDArray

from rayxkd.data import ImageSet, ProbeSet
from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.teachers import (
    ProbePixels,
    TeacherCard,
    TeacherError,
    load_teacher,
    open_repositories,
    predict,
)


def student_probabilities_NM(
    address: str, images: ImageSet, probe: ProbeSet, *, trust_code: bool = False
) -> NDArray[np.float64]:
    """A student's probabilities on the probe set, [N, M], rows sum to one.

    Args:
        address: a ``.npy`` file with one row an image of the whole image set or of the probe set
            (probabilities, or logits), or a student's folder in the layout of a teacher's.
        images: the whole image set.
        probe: its sample.
        trust_code: see :func:`rayxkd.teachers.load_teacher`.

    Raises:
        UserError: it is neither, or does not fit the task.
    """
    if address.endswith(".npy"):
        rows = _from_file(address, len(images), probe)
    else:
        rows = _from_student(address, probe, trust_code)
    if rows.shape[1] != probe.num_classes or not np.isfinite(rows).all():
        raise UserError(
            f"--reference {address} has {rows.shape[1]} columns (all must be finite); "
            f"the task has {probe.num_classes} classes"
        )
    return _probabilities(rows)


def reference_digest(reference_NM: NDArray[np.float64] | None) -> str:
    """SHA-256 of a reference; a word for the labels, whose content the probe digest covers."""
    if reference_NM is None:
        return "labels"
    return hashlib.sha256(np.ascontiguousarray(reference_NM).tobytes()).hexdigest()


def _from_file(address: str, total: int, probe: ProbeSet) -> NDArray[np.float64]:
    try:
        rows = np.load(io.BytesIO(Storage.at(address).read()), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--reference {address} cannot be read: {error}") from error
    if rows.ndim != 2 or len(rows) not in (total, len(probe)):
        raise UserError(
            f"--reference {address} has shape {rows.shape}: it needs a row for each of the "
            f"{total} images of {probe.address}, or of the {len(probe)} of the probe set"
        )
    chosen = rows if len(rows) == len(probe) else rows[probe.indices_N]
    return np.asarray(chosen, dtype=np.float64)


def _from_student(address: str, probe: ProbeSet, trust_code: bool) -> NDArray[np.float64]:
    repository = open_repositories([address])[0]
    cards = repository.cards()
    card = cards[0]
    if len(cards) > 1:
        raise UserError(f"--reference {address} holds {len(cards)} models: give the folder of one")
    if not isinstance(card, TeacherCard):
        raise UserError(f"--reference {address} cannot be used: {card.reason}")
    if card.label_names and card.label_names != probe.class_names:
        raise UserError(
            f"--reference {address} has the classes {', '.join(card.label_names[:5])}, ...; "
            f"the task has {', '.join(probe.class_names[:5])}, ..."
        )
    try:
        with repository.weights(card) as weights:
            student = load_teacher(card, weights, torch.device("cpu"), trust_code=trust_code)
            predictions = predict(student, ProbePixels(probe))
    except TeacherError as error:
        raise UserError(f"--reference {address} cannot be used: {error.reason}") from error
    return predictions.logits_NK.double().numpy()


def _probabilities(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that already sum to one stay; all others are taken for logits."""
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-4):
        result = rows / rows.sum(axis=1, keepdims=True)
    else:
        exponent = np.exp(rows - rows.max(axis=1, keepdims=True))
        result = exponent / exponent.sum(axis=1, keepdims=True)
    return np.asarray(result, dtype=np.float64)
