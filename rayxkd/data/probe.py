"""The probe set: the labelled images of the target task that every teacher is asked about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rayxkd.data.encoded import ImageBuffer, read_encoded
from rayxkd.data.images import ImageSet
from rayxkd.errors import UserError


@dataclass(frozen=True)
class ProbeSet(ImageBuffer):
    """N labelled images, encoded as they were found, in one buffer.

    NumPy arrays only: Ray's object store gives them to every worker of a node without a copy.

    Attributes:
        address: where they come from.
        class_names: the M classes in the order of their labels.
        labels_N: int64, in [0, M); every class has at least two images.
        indices_N: place of each image in the image set, int64, ascending.
        buffer: the encoded images one after another, uint8.
        ends_N: where each image ends in the buffer, int64.
        skipped: how many images were left out because they cannot be decoded.
    """

    address: str
    class_names: tuple[str, ...]
    labels_N: NDArray[np.int64]
    indices_N: NDArray[np.int64]
    buffer: NDArray[np.uint8]
    ends_N: NDArray[np.int64]
    skipped: int = 0

    @property
    def num_classes(self) -> int:
        """M."""
        return len(self.class_names)

    def part(self, places_P: NDArray[np.int64]) -> ProbeSet:
        """The images at some places, ascending; two of every class at least."""
        images = self.taken(places_P)
        return replace(
            self,
            labels_N=self.labels_N[places_P],
            indices_N=self.indices_N[places_P],
            buffer=images.buffer,
            ends_N=images.ends_N,
        )

    @property
    def digest(self) -> str:
        """SHA-256 over class names, labels and the images' bytes, in order."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for label, image in zip(self.labels_N, self.digests, strict=True):
            digest.update(f"{label}:".encode())
            digest.update(bytes.fromhex(image))
        return digest.hexdigest()


def sample_probe_set(images: ImageSet, size: int = 512, seed: int = 0) -> ProbeSet:
    """Draw a stratified sample and check that every image can be decoded.

    Each class gets its share of ``size`` (largest remainders), but at least two images. Unreadable
    images are left out and counted.

    Args:
        images: the labelled images of the target task.
        size: how many to draw; all of them where there are fewer.
        seed: of the draw.

    Raises:
        UserError: no labels, one class only, a class with fewer than two images, a size too small
            for the number of classes, or more than 1 % of the images unreadable.
    """
    _check_classes(images)
    if size < 2 * len(images.class_names):
        raise UserError(
            f"--probe-size {size} is too small for {len(images.class_names)} classes: "
            f"use at least {2 * len(images.class_names)} (two images a class)"
        )
    indices_N = stratified_sample(images.labels_N, size, seed)
    encoded, kept_N = read_encoded(images, indices_N)
    probe = ProbeSet(
        images.address,
        images.class_names,
        images.labels_N[kept_N],
        kept_N,
        encoded.buffer,
        encoded.ends_N,
        skipped=len(indices_N) - len(kept_N),
    )
    check_counts(images.address, probe.class_names, probe.labels_N)
    return probe


def stratified_sample(labels_N: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Places of a stratified sample, ascending; see :func:`sample_probe_set`.

    The images are shuffled by ``numpy.random.default_rng(seed).permutation``; each class gives
    the first of its images in that order.
    """
    if size >= len(labels_N):
        return np.arange(len(labels_N))
    counts = np.bincount(labels_N)
    quotas = _quotas(counts, size)
    order = np.random.default_rng(seed).permutation(len(labels_N))
    chosen = [
        order[labels_N[order] == label][:quota] for label, quota in enumerate(quotas) if quota
    ]
    return np.sort(np.concatenate(chosen))


def _quotas(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """How many images each class gives: its share, at least two, at most what it has."""
    share = counts * size / counts.sum()
    quota: NDArray[np.int64] = np.floor(share).astype(np.int64)
    # Largest remainders first; of equal remainders the class with the smaller label.
    for label in np.argsort(quota - share, kind="stable")[: size - quota.sum()]:
        quota[label] += 1
    least = np.minimum(counts, 2)
    quota = np.maximum(quota, least)
    while quota.sum() > size and (quota > least).any():
        # The class that has most above its share gives one back.
        quota[np.argmax(np.where(quota > least, quota - share, -np.inf))] -= 1
    return quota


def _check_classes(images: ImageSet) -> None:
    if len(images) == 0:
        raise UserError(f"{images.address} holds no images")
    if not images.class_names:
        raise UserError(f"{images.address} was opened without labels: a probe set needs them")
    present = np.flatnonzero(np.bincount(images.labels_N))
    if len(images.class_names) < 2 or len(present) < 2:
        only = images.class_names[present[0]]
        raise UserError(
            f"{images.address} holds one class only ('{only}'): a task needs at least two"
        )
    check_counts(images.address, images.class_names, images.labels_N)


def check_counts(address: str, names: Sequence[str], labels_N: NDArray[np.int64]) -> None:
    """Every class needs two images.

    Raises:
        UserError: the class with the fewest has less.
    """
    counts = np.bincount(labels_N, minlength=len(names))
    label = int(counts.argmin())
    if counts[label] < 2:
        raise UserError(
            f"{address}: class '{names[label]}' has {counts[label]} readable image(s), "
            "at least two are needed: add images or leave the class out"
        )
