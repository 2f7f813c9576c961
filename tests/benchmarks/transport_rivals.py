"""Ways to solve many transport problems with one cost: ours and those of other libraries.

Every way is a function from a problem to the costs of its samples. Other libraries are used as one
who knows them would: NumPy or torch as suits them, batches that fit into the cache, and a cost
whose least entry is zero (plans do not change with a constant, and kernels underflow less).
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import ot
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayxkd.transport import TransportOutput, TransportProblem, solve

Answer = Tensor | TransportOutput
Solve = Callable[[TransportProblem], Answer]

# From coarse to fine, in units of the median height of C.
EPSILONS = (0.1, 0.05, 0.03, 0.02, 0.01, 0.005)
TOLERANCES = (1e-2, 1e-3, 1e-4)
_TRUNCATIONS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
_DTYPES = (torch.float32, torch.float64)
# Samples that a rival solves at once: larger arrays leave the processor's cache, and all of a batch
# wait for its slowest.
_RIVAL_CHUNK = 8


@dataclass(frozen=True)
class Way:
    """A solver with one setting."""

    setting: str
    solve: Solve


@dataclass(frozen=True)
class Contender:
    """A solver with all settings that are tried.

    Attributes:
        name: what the table calls it.
        ways: from coarse to fine.
        in_batch: solved with all N samples at once, where others get a few: they are slow.
    """

    name: str
    ways: tuple[Way, ...]
    in_batch: bool = False


def median_height(cost_KM: Tensor) -> float:
    """Median of C above its least entry: what epsilons are measured in."""
    return float((cost_KM - cost_KM.min()).median())


def contenders(cost_KM: Tensor) -> list[Contender]:
    """All solvers that are installed, for problems with that cost."""
    height = median_height(cost_KM)
    loops = _kernels(height, sinkhorn_loop)
    batches = {
        method: _kernels(height, partial(solved_batch, method=method))
        for method in ("sinkhorn", "log_sinkhorn")
    }
    found = [
        Contender("ours, auto as it comes", (Way("", solve),), in_batch=True),
        Contender("ours, sinkhorn", tuple(_ours(height)), in_batch=True),
        Contender("ours, truncated", tuple(_truncated())),
        Contender("ours, exact", (Way("", partial(solve, method="exact")),)),
        Contender("ot.sinkhorn2 loop", tuple(loops)),
        *(Contender(f"ot.solve_batch {name}", tuple(ways)) for name, ways in batches.items()),
    ]
    if importlib.util.find_spec("geomloss"):
        found.append(Contender("geomloss", tuple(_geomlosses(height))))
    return found


def emd_loop(problem: TransportProblem) -> Tensor:
    """The exact costs, by ``ot.emd2``: the yardstick."""
    source, target, cost = _arrays(problem, np.float64)
    pairs = zip(source, target, strict=True)
    return torch.tensor([float(ot.emd2(p, q, cost)) for p, q in pairs], dtype=torch.float64)


def sinkhorn_loop(
    problem: TransportProblem,
    epsilon: float,
    tolerance: float,
    iterations: int = 1000,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """``ot.sinkhorn2``, one sample after another, on NumPy arrays."""
    least, lowered = _lowered(problem)
    source, target, cost = _arrays(lowered, np.float32 if dtype == torch.float32 else np.float64)
    settings = {"numItermax": iterations, "stopThr": tolerance}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        pairs = zip(source, target, strict=True)
        costs = [float(ot.sinkhorn2(p, q, cost, epsilon, **settings)) for p, q in pairs]
    return torch.tensor(costs, dtype=torch.float64) + least


def solved_batch(
    problem: TransportProblem,
    epsilon: float,
    tolerance: float,
    iterations: int = 1000,
    *,
    method: str,
    dtype: torch.dtype,
) -> Tensor:
    """``ot.solve_batch``; the cost is shared as far as the library allows."""
    settings = {"max_iter": iterations, "tol": tolerance, "method": method, "grad": "detach"}

    def solved(source_BK: Tensor, target_BM: Tensor, cost_KM: Tensor) -> Tensor:
        cost_BKM = cost_KM.expand(len(source_BK), -1, -1)
        result = ot.solve_batch(cost_BKM, epsilon, source_BK, target_BM, **settings)
        costs: Tensor = result.value_linear
        return costs

    return _in_chunks(problem, dtype, solved)


def geomloss_batch(
    problem: TransportProblem, epsilon: float, scaling: float, dtype: torch.dtype
) -> Tensor:
    """``SamplesLoss`` without debiasing; points are classes, and a table has their costs."""
    from geomloss import SamplesLoss

    num_source, num_target = problem.cost_KM.shape
    # Source classes are 1, 2, ..., target classes -1, -2, ...
    places_K = torch.arange(1, num_source + 1, dtype=dtype)
    places_M = -torch.arange(1, num_target + 1, dtype=dtype)

    def solved(source_BK: Tensor, target_BM: Tensor, cost_KM: Tensor) -> Tensor:
        tables = {num_source: cost_KM, -num_target: cost_KM.T}
        loss = SamplesLoss(
            p=1,  # epsilon is blur^p
            blur=epsilon,
            scaling=scaling,
            diameter=float(cost_KM.max()),
            cost=lambda left, _: tables[int(left[0, -1, 0])].expand(len(left), -1, -1),
            debias=False,
            backend="tensorized",
        )
        points = [p[None, :, None].expand(len(source_BK), -1, -1) for p in (places_K, places_M)]
        costs: Tensor = loss(source_BK, points[0], target_BM, points[1])
        return costs

    with torch.no_grad():
        return _in_chunks(problem, dtype, solved)


def _in_chunks(
    problem: TransportProblem,
    dtype: torch.dtype,
    solved: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    least, lowered = _lowered(problem)
    source_NK, target_NM, cost_KM = (
        part.to("cpu", dtype) for part in (lowered.source_NK, lowered.target_NM, lowered.cost_KM)
    )
    costs = [
        solved(source_NK[i : i + _RIVAL_CHUNK], target_NM[i : i + _RIVAL_CHUNK], cost_KM).double()
        for i in range(0, problem.num_samples, _RIVAL_CHUNK)
    ]
    return torch.cat(costs) + least


def _lowered(problem: TransportProblem) -> tuple[float, TransportProblem]:
    """The least cost, and the problem without it."""
    least = float(problem.cost_KM.min())
    cost_KM = problem.cost_KM - least
    return least, TransportProblem(problem.source_NK, problem.target_NM, cost_KM)


def _arrays(problem: TransportProblem, dtype: type) -> list[NDArray[Any]]:
    parts = (problem.source_NK, problem.target_NM, problem.cost_KM)
    return [np.ascontiguousarray(part.numpy(force=True).astype(dtype)) for part in parts]


def _ours(height: float) -> Iterator[Way]:
    for fraction, tolerance in product(EPSILONS, TOLERANCES):
        run = partial(solve, method="sinkhorn", epsilon=fraction * height, tolerance=tolerance)
        yield Way(f"eps {fraction}, tol {tolerance:g}", run)


def _truncated() -> Iterator[Way]:
    for share in _TRUNCATIONS:
        yield Way(f"truncation {share}", partial(solve, method="truncated", truncation=share))


def _kernels(height: float, run: Callable[..., Tensor]) -> Iterator[Way]:
    for fraction, tolerance, dtype in product(EPSILONS, TOLERANCES, _DTYPES):
        with_epsilon = partial(run, epsilon=fraction * height)
        yield Way(
            f"eps {fraction}, tol {tolerance:g}, {name_of(dtype)}",
            partial(with_epsilon, tolerance=tolerance, dtype=dtype),
        )


def _geomlosses(height: float) -> Iterator[Way]:
    # Its value counts the entropy too, which wants finer epsilons.
    for fraction, scaling in product((*EPSILONS, 0.002, 0.001), (0.5, 0.8)):
        with_blur = partial(geomloss_batch, epsilon=fraction * height)
        yield Way(
            f"blur {fraction}, scaling {scaling}",
            partial(with_blur, scaling=scaling, dtype=torch.float32),
        )


def name_of(dtype: torch.dtype) -> str:
    """As people write it."""
    return str(dtype).removeprefix("torch.")
