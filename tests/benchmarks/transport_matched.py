"""Solvers compared fairly: at the same accuracy, and at the same number of iterations.

Legend: N samples, K source classes, M target classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transport_cases import (
    Case,
    another,
    clock,
    on_device,
    rows_of,
    seconds,
    spread,
    student_reference,
)
from transport_rivals import (
    Answer,
    Contender,
    Way,
    contenders,
    emd_loop,
    median_height,
    name_of,
    sinkhorn_loop,
    solved_batch,
)

from rayxkd.transport import TransportOutput, TransportProblem
from rayxkd.transport.chunks import chunk_slices
from rayxkd.transport.solvers import SinkhornSettings, solve_sinkhorn
from rayxkd.transport.solvers.scaling import Relaxation, iterate_kernel

Row = dict[str, Any]

# The accuracy that all are asked for: mean relative error of the cost.
WANTED_ERROR = 0.005
TEMPERATURES = (1.0, 8.0)
# A way of solving is tried on these few first: many are far too slow.
_PILOT = 4
# How far beyond the wanted error those may lie.
_PILOT_ERROR = 4
# A contender begins no other way after so many that did not beat its fastest accurate one,
_PATIENCE = 6
# or after so many seconds.
_BUDGET = 10.0

_ITERATIONS = 100
_EPSILON = 0.05
_TEMPERATURE = 8.0
_SYNTHETIC = ((100, 10, 512), (21841, 100, 128), (1000, 1000, 128))
# Numbers of K x M x iterations that a rival is given: more samples take no less time each.
_RIVAL_WORK = 1e8


def matched_rows(case: Case, cases: list[Case], temperature: float, device: str) -> list[Row]:
    """All contenders on one case, each with the fastest way that is accurate enough."""
    reference_NM = student_reference(another(cases, case))
    problem = case.problem(reference_NM, temperature, device)
    num_source, num_target = problem.cost_KM.shape
    rows = spread(problem.num_samples, 24 if num_target >= 100 else 64).to(device)
    yardstick = _Yardstick(problem, rows, device)
    about = {
        "data": case.data,
        "teacher": case.teacher,
        "temperature": temperature,
        "K": num_source,
        "M": num_target,
    }
    exact = {
        "solver": "ot.emd2 loop",
        "us_per_sample": yardstick.seconds * 1e6,
        "times_emd2": 1.0,
        "mean_error": 0.0,
        "worst_error": 0.0,
    }
    compared = [yardstick.compare(contender) for contender in contenders(problem.cost_KM)]
    return [about | row for row in [exact, *compared]]


class _Yardstick:
    """Exact costs of some samples of a problem, with the time that they take."""

    def __init__(self, problem: TransportProblem, rows: Tensor, device: str) -> None:
        self._problem, self._rows, self._device = problem, rows, device
        self._few = rows_of(problem, rows)
        on_cpu = on_device(self._few, "cpu")
        self._pilot = rows_of(self._few, slice(_PILOT))
        self._exact = emd_loop(on_cpu)
        self.seconds = seconds(lambda: emd_loop(on_cpu)) / len(rows)

    def compare(self, contender: Contender) -> Row:
        """The row of a contender: its fastest accurate way, or the closest one."""
        tried = list(self._tried(contender))
        good = [trial for trial in tried if trial.mean <= WANTED_ERROR]
        if not good:
            closest = min((t.mean for t in tried if math.isfinite(t.mean)), default=math.nan)
            return {
                "solver": contender.name,
                "setting": f"none found in {_BUDGET:g} s is accurate enough",
                "mean_error": closest,
            }
        best = min(good, key=lambda trial: trial.seconds)
        problem = self._whole(contender)
        taken = seconds(partial(best.way.solve, problem), self._device) / problem.num_samples
        return {
            "solver": contender.name,
            "setting": best.way.setting or self._says(best.answer),
            "us_per_sample": taken * 1e6,
            "times_emd2": self.seconds / taken,
            "mean_error": best.mean,
            "worst_error": best.worst,
            "certified_gap": self._gap(best.answer),
        }

    def _tried(self, contender: Contender) -> Iterator[_Trial]:
        """From coarse to fine, without what a few samples show to be too slow or too far off.

        A solver that comes without choice is kept whatever it does.
        """
        now = clock(self._device)
        problem, end = self._whole(contender), now() + _BUDGET
        fastest, idle = math.inf, 0
        for way in contender.ways:
            if now() > end or idle > _PATIENCE:
                break
            idle += math.isfinite(fastest)
            if len(contender.ways) > 1:
                pilot = self._run(way, self._pilot, self._exact[:_PILOT])
                too_far = not pilot.mean <= _PILOT_ERROR * WANTED_ERROR
                if too_far or (pilot.seconds > 2 * fastest and not contender.in_batch):
                    continue
            trial = self._run(way, problem, self._exact, self._rows if contender.in_batch else None)
            if trial.mean <= WANTED_ERROR and trial.seconds < fastest:
                fastest, idle = trial.seconds, 0
            yield trial

    def _run(
        self, way: Way, problem: TransportProblem, exact_B: Tensor, rows: Tensor | None = None
    ) -> _Trial:
        """One way on a problem, whose samples at ``rows``, or all, have these exact costs."""
        answers: list[Answer] = []
        taken = seconds(
            lambda: answers.append(way.solve(problem)), self._device, repeats=1, warm=False
        )
        answer = answers[0]
        cost_N = answer.cost_N if isinstance(answer, TransportOutput) else answer
        cost_B = (cost_N if rows is None else cost_N[rows]).cpu()
        error_B = (cost_B - exact_B).abs() / exact_B
        a_sample = taken / problem.num_samples
        return _Trial(way, answer, a_sample, float(error_B.mean()), float(error_B.max()))

    def _whole(self, contender: Contender) -> TransportProblem:
        return self._problem if contender.in_batch else self._few

    @staticmethod
    def _gap(answer: Answer) -> float | None:
        if not isinstance(answer, TransportOutput):
            return None
        return float((answer.gap_N / answer.cost_N).mean())

    @staticmethod
    def _says(answer: Answer) -> str:
        if not isinstance(answer, TransportOutput):
            return ""
        return ", ".join(f"{count} {method}" for method, count in answer.solved_by.items())


@dataclass(frozen=True)
class _Trial:
    way: Way
    answer: Answer
    seconds: float
    mean: float
    worst: float


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
    here = on_device(problem, device)
    rows = []
    for dtype, peak in peaks.items():
        ours, right = _ours_fixed(here, epsilon, dtype, device)
        bare = _bare_iterations(here, epsilon, dtype, device)
        mine = {"solver": "ours", "us_per_sample": ours * 1e6, "ratio": 1.0}
        if not right:
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


def _ours_fixed(
    problem: TransportProblem, epsilon: float, dtype: torch.dtype, device: str
) -> tuple[float, bool]:
    """Seconds a sample from masses to costs, and whether the kernel was enough.

    The least tolerance there is: nobody stops, whatever rounding says.
    """
    settings = SinkhornSettings(epsilon, 1e-300, _ITERATIONS, dtype=dtype)
    output = solve_sinkhorn(problem, settings)
    taken = seconds(lambda: solve_sinkhorn(problem, settings), device, warm=False)
    return taken / problem.num_samples, not bool(output.log_domain_N.any())


def _bare_iterations(
    problem: TransportProblem, epsilon: float, dtype: torch.dtype, device: str
) -> float:
    """Seconds a sample of the iterations alone."""
    kernel_KM = torch.exp((problem.cost_KM.min() - problem.cost_KM) / epsilon).to(dtype)
    source_NK, target_NM = problem.source_NK.to(dtype), problem.target_NM.to(dtype)
    relaxation = Relaxation(math.inf, math.inf, epsilon)

    def run() -> None:
        for chunk in chunk_slices(problem):
            iterate_kernel(
                source_NK[chunk],
                target_NM[chunk],
                kernel_KM,
                torch.ones_like(target_NM[chunk]),
                relaxation,
                tolerance=-1.0,
                max_iterations=_ITERATIONS,
            )

    return seconds(run, device) / problem.num_samples
