"""Solvers compared at the same number of iterations, and with the processor's peak.

Legend: N samples, K source classes, M target classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transport_cases import Case, another, on_device, rows_of, seconds, student_reference
from transport_rivals import median_height, name_of, sinkhorn_loop, solved_batch

from rayxkd.transport import TransportProblem
from rayxkd.transport.chunks import chunk_slices
from rayxkd.transport.solvers.plans import factored_plans
from rayxkd.transport.solvers.scaling import Relaxation, iterate_kernel

Row = dict[str, Any]

_ITERATIONS = 100
_EPSILON = 0.05
_TEMPERATURE = 8.0
_SYNTHETIC = ((100, 10, 512), (21841, 100, 128), (1000, 1000, 128))
# Numbers of K x M x iterations that a rival is given: more samples take no less time each.
_RIVAL_WORK = 1e8


def iteration_problems(cases: list[Case], teacher: str) -> Iterator[tuple[str, TransportProblem]]:
    """Real predictions at two sizes of N, then random ones of other shapes."""
    for case in cases:
        if case.teacher == teacher:
            problem = case.problem(student_reference(another(cases, case)), _TEMPERATURE, "cpu")
            yield case.data, problem
            yield case.data, rows_of(problem, torch.arange(2048) % problem.num_samples)
    generator = torch.Generator().manual_seed(0)
    for num_source, num_target, samples in _SYNTHETIC:
        source_NK = torch.randn(samples, num_source, generator=generator).double() * 3
        target_NM = torch.randn(samples, num_target, generator=generator).double() * 2
        cost_KM = torch.rand(num_source, num_target, generator=generator).double()
        masses = torch.softmax(source_NK, dim=1), torch.softmax(target_NM, dim=1)
        yield "random", TransportProblem(*masses, cost_KM)


def iteration_rows(
    name: str, problem: TransportProblem, peaks: dict[torch.dtype, float], device: str
) -> list[Row]:
    """A fixed number of iterations by all, in float32 and float64."""
    num_source, num_target = problem.cost_KM.shape
    epsilon = _EPSILON * median_height(problem.cost_KM)
    flops = 4 * num_source * num_target * _ITERATIONS
    few = rows_of(problem, slice(_rival_samples(num_source * num_target)))
    rows = []
    for dtype, peak in peaks.items():
        fixed = _FixedIterations(on_device(problem, device), epsilon, dtype)
        ours = seconds(fixed.costs, device) / problem.num_samples
        bare = seconds(fixed.scalings, device) / problem.num_samples
        mine = {"solver": "ours", "us_per_sample": ours * 1e6, "ratio": 1.0}
        if not bool(torch.isfinite(fixed.costs()).all()):
            mine["setting"] = "left the range of numbers"
        rows.append((dtype, mine | {"share_of_peak": flops / bare / peak}))
        for solver, run in _fixed_rivals(few, epsilon, dtype).items():
            taken = seconds(run, warm=few.num_samples > 1) / few.num_samples
            row = {"solver": solver, "us_per_sample": taken * 1e6, "ratio": taken / ours}
            rows.append((dtype, row))
    about = {"problem": name, "K": num_source, "M": num_target, "N": problem.num_samples}
    return [about | {"dtype": name_of(dtype)} | row for dtype, row in rows]


def _rival_samples(entries: int) -> int:
    return max(1, min(64, int(_RIVAL_WORK / (entries * _ITERATIONS))))


def _fixed_rivals(
    few: TransportProblem, epsilon: float, dtype: torch.dtype
) -> dict[str, Callable[[], Tensor]]:
    fixed = (few, epsilon, 0.0, _ITERATIONS)
    batches = {
        f"ot.solve_batch {method}": partial(solved_batch, *fixed, method=method, dtype=dtype)
        for method in ("sinkhorn", "log_sinkhorn")
    }
    return {"ot.sinkhorn2 loop": partial(sinkhorn_loop, *fixed, dtype=dtype), **batches}


class _FixedIterations:
    """What ``solve`` does with ``"sinkhorn"``, but for samples that stop when they have converged.

    Its settings allow no tolerance below zero, and in few iterations a sample may stand still.
    """

    def __init__(self, problem: TransportProblem, epsilon: float, dtype: torch.dtype) -> None:
        self._problem, self._dtype = problem, dtype
        self._relaxation = Relaxation(math.inf, math.inf, epsilon)
        self._cost_KM = problem.cost_KM.double()
        self._kernel_KM = torch.exp((self._cost_KM.min() - self._cost_KM) / epsilon)

    def scalings(self) -> list[Tensor]:
        """The iterations alone."""
        kernel_KM = self._kernel_KM.to(self._dtype)
        return [
            iterate_kernel(
                source_BK.to(self._dtype),
                target_BM.to(self._dtype),
                kernel_KM,
                torch.ones_like(target_BM, dtype=self._dtype),
                self._relaxation,
                tolerance=-1.0,
                max_iterations=_ITERATIONS,
            )
            for source_BK, target_BM in self._masses()
        ]

    def costs(self) -> Tensor:
        """The iterations, and the costs of rounded plans in float64."""
        costs = [
            factored_plans(*masses, self._kernel_KM, v_BM.double(), self._relaxation).costs(
                self._cost_KM
            )
            for masses, v_BM in zip(self._masses(), self.scalings(), strict=True)
        ]
        return torch.cat(costs)

    def _masses(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self._problem.masses(chunk) for chunk in chunk_slices(self._problem))
