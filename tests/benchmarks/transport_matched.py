"""Solvers compared at the same accuracy: of each the fastest setting that is good enough."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

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
)

from rayxkd.transport import TransportOutput, TransportProblem

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
_BUDGET = 30.0


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
        now = clock(self._device)
        end = now() + _BUDGET
        tried = list(self._tried(contender, end))
        good = [trial for trial in tried if trial.mean <= WANTED_ERROR]
        if not good:
            closest = min((t.mean for t in tried if math.isfinite(t.mean)), default=math.nan)
            return {
                "solver": contender.name,
                "setting": f"none in {_BUDGET:g} s" if now() > end else "none is accurate enough",
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

    def _tried(self, contender: Contender, end: float) -> Iterator[_Trial]:
        """From coarse to fine, without what a few samples show to be too slow or too far off.

        A solver that comes without choice is kept whatever it does.
        """
        now = clock(self._device)
        problem, fastest, idle = self._whole(contender), math.inf, 0
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
