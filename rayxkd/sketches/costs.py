"""The transport cost of every sketch for a task, in one batched pass.

Legend: T teachers, P prototypes of all of them one after another, J target prototypes, M target
classes, D dimensions of the space, B prototypes of one chunk, S teachers of one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayxkd.sketches.sketch import Sketch
from rayxkd.sketches.target import Target

# Sharpness of p(k | x) over cosines; the ranking hardly changes from 5 to 20.
SHARPNESS = 10.0
# Weight of the class prior in a row of P, in images, as in CooccurrenceCost.
_SHRINKAGE = 1.0
# Prototypes of one chunk: what is made of them stays in a processor's cache.
_CHUNK = 16_384


@dataclass(frozen=True)
class Sketches:
    """Sketches of T teachers, one after another.

    Attributes:
        prototypes_PD: float32.
        mass_P: float32.
        ends_T: where each teacher's prototypes end, int64.
    """

    prototypes_PD: NDArray[np.float32]
    mass_P: NDArray[np.float32]
    ends_T: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends_T)

    @classmethod
    def of(cls, sketches: Sequence[Sketch]) -> Sketches:
        """Sketches in one table."""
        return cls(
            np.concatenate([sketch.prototypes_PD for sketch in sketches]),
            np.concatenate([sketch.mass_P for sketch in sketches]),
            np.cumsum([len(sketch.mass_P) for sketch in sketches], dtype=np.int64),
        )


def sketched_costs_T(sketches: Sketches, target: Target) -> NDArray[np.float64]:
    """What it costs to move each teacher's answers to the labels, as its sketch alone tells (ours).

    A teacher's answer to an image at x is guessed from its prototypes c_k and masses w_k:
    p(k | x) = w_k exp(10 <c_k, x>) / sum_k' w_k' exp(10 <c_k', x>). From these, ground cost and
    score are those of the scan's ``cooccurrence``: C[k, m] = -log P(m | k) shrunk to the class
    prior, and the cost is the mean over images of sum_k p(k | x) C[k, y]. Target prototypes stand
    for the images.

    Assumes that the space tells the task's classes apart, and that some reference images look like
    the task's. It is not cross-fitted: a teacher of very many classes has some advantage on a very
    small probe set.

    Returns:
        Nats, float64 [T], lower is better; comparable for one target only.
    """
    costs = np.empty(len(sketches))
    images_J = torch.from_numpy(target.images_J).float()
    counts_JM = torch.zeros(len(images_J), target.num_classes)
    counts_JM[torch.arange(len(images_J)), torch.from_numpy(target.label_J)] = images_J
    places_DJ = torch.from_numpy(target.prototypes_JD.T * np.float32(SHARPNESS)).contiguous()
    with _one_thread():
        for teachers, rows, lengths_S in _chunks(sketches.ends_T):
            # Copies: PyTorch does not like arrays that lie in a file's read-only buffers.
            prototypes_BD = torch.from_numpy(sketches.prototypes_PD[rows].copy())
            mass_B = torch.from_numpy(sketches.mass_P[rows].copy())
            cost_B = _cost_B(prototypes_BD @ places_DJ, mass_B, lengths_S, counts_JM)
            costs[teachers] = (_sums(cost_B[:, None], lengths_S)[:, 0] / images_J.sum()).numpy()
    return costs


def _cost_B(cosine_BJ: Tensor, mass_B: Tensor, lengths_S: Tensor, counts_JM: Tensor) -> Tensor:
    """What each prototype adds to its teacher's cost, times the number of images."""
    prior_M = counts_JM.sum(dim=0) / counts_JM.sum()
    odds_BJ = cosine_BJ.exp_().mul_(mass_B[:, None])
    p_BJ = odds_BJ.div_(_spread(_sums(odds_BJ, lengths_S), lengths_S))
    joint_BM = p_BJ @ counts_JM
    row_B = joint_BM.sum(dim=1)
    shrunk_BM = (joint_BM + _SHRINKAGE * prior_M).div_((row_B + _SHRINKAGE)[:, None])
    return -(joint_BM * shrunk_BM.clamp_min(1e-30).log()).sum(dim=1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Chunks are too small to be shared: threads would wait for each other for longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _chunks(ends_T: NDArray[np.int64]) -> Iterator[tuple[slice, slice, Tensor]]:
    """Whole teachers, about ``_CHUNK`` prototypes at a time: teachers, rows, rows of each."""
    starts_T = np.concatenate([[0], ends_T[:-1]])
    first = 0
    while first < len(ends_T):
        last = int(np.searchsorted(ends_T, starts_T[first] + _CHUNK, side="right"))
        last = max(last, first + 1)
        rows = slice(int(starts_T[first]), int(ends_T[last - 1]))
        lengths_S = torch.from_numpy(ends_T[first:last] - starts_T[first:last])
        yield slice(first, last), rows, lengths_S
        first = last


def _sums(values_BJ: Tensor, lengths_S: Tensor) -> Tensor:
    """Sums over each teacher's rows, [S, J]."""
    return torch.segment_reduce(values_BJ, "sum", lengths=lengths_S, axis=0, unsafe=True)


def _spread(values_SJ: Tensor, lengths_S: Tensor) -> Tensor:
    """Each teacher's row for all of its prototypes, [B, J]."""
    return values_SJ.repeat_interleave(lengths_S, dim=0)
