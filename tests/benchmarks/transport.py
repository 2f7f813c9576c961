"""What our transport costs: against other solvers, the processor's peak, and a forward pass.

Run: ``uv run --with geomloss python tests/benchmarks/transport.py --zoo FOLDER --data FOLDER``

``--zoo`` holds teacher folders, ``--data`` holds ``flowers``, ``clothing`` and ``cifar100``, each
with a ``train.parquet``. The first run asks every teacher about every data set (minutes); the
answers are kept in ``--cache``. All ratios are of times from the same run: with one thread on a CPU
those of the process alone, whatever else the machine does; else wall time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from transport_cases import Case, another, load_cases, on_device, seconds, student_reference
from transport_iterations import iteration_problems, iteration_rows
from transport_matched import TEMPERATURES, Row, matched_rows
from transport_rivals import name_of

from rayxkd.transport import (
    CooccurrenceCost,
    CrossFittedCost,
    LearnedCost,
    TransportOutput,
    TransportProblem,
    solve,
    stratified_folds,
)
from rayxkd.transport.score import SCORE_TOLERANCE

_PEAK_SIDE = 2048
_FOLDS = 5


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    options: argparse.Namespace

    @cached_property
    def cases(self) -> list[Case]:
        """Every teacher on every data set."""
        o = self.options
        return load_cases(o.zoo, o.data, o.cache, o.samples, o.device)

    @cached_property
    def peaks(self) -> dict[torch.dtype, float]:
        """Floating-point operations a second of a large matrix product, the best of several."""
        return {dtype: self._peak(dtype) for dtype in (torch.float32, torch.float64)}

    def _peak(self, dtype: torch.dtype) -> float:
        left = torch.rand(_PEAK_SIDE, _PEAK_SIDE, dtype=dtype, device=self.options.device)
        product = torch.empty_like(left)
        run = partial(torch.mm, left, left, out=product)
        best = min(seconds(run, self.options.device, repeats=1) for _ in range(5))
        return 2 * _PEAK_SIDE**3 / best


def peak(bench: Bench) -> list[Row]:
    """Matrix products of 2048 x 2048."""
    return [
        {"dtype": name_of(dtype), "gflops": flops / 1e9} for dtype, flops in bench.peaks.items()
    ]


def matched(bench: Bench) -> list[Row]:
    """All solvers at the same accuracy: mean error of the cost of at most 0.5 %."""
    return [
        row
        for case in bench.cases
        if case.teacher in bench.options.compare
        for temperature in TEMPERATURES
        for row in matched_rows(case, bench.cases, temperature, bench.options.device)
    ]


def iterations(bench: Bench) -> list[Row]:
    """All solvers with the same number of iterations, none of which stops early."""
    problems = iteration_problems(bench.cases, bench.options.compare[0])
    return [
        row
        for name, problem in problems
        for row in iteration_rows(name, problem, bench.peaks, bench.options.device)
    ]


def forward(bench: Bench) -> list[Row]:
    """Transport as in a scan, as a share of the forward pass.

    Five folds; the learned cost for labels, co-occurrence for a student's predictions. Fitting the
    learned cost stands apart.
    """
    return [_forward_row(case, bench) for case in bench.cases]


def _forward_row(case: Case, bench: Bench) -> Row:
    fold_N = stratified_folds(case.labels_N, _FOLDS)
    fitted: list[CrossFittedCost] = []
    fit = partial(
        LearnedCost().cross_fit, case.predictions, case.labels_N, case.num_classes, fold_N
    )
    fit_seconds = seconds(lambda: fitted.append(fit()), repeats=1, warm=False)
    row: Row = {
        "data": case.data,
        "teacher": case.teacher,
        "K": case.predictions.num_classes,
        "M": case.num_classes,
        "forward_seconds": case.forward_seconds,
    }
    one_hot_NM = torch.nn.functional.one_hot(case.labels_N, case.num_classes).double()
    references = {"label": one_hot_NM, "student": student_reference(another(bench.cases, case))}
    for name, reference_NM in references.items():
        if name == "student":
            fitted[0] = CooccurrenceCost().cross_fit(
                case.predictions, case.labels_N, case.num_classes, fold_N
            )
        problems = _fold_problems(case, fitted[0], reference_NM, bench.options.device)
        outputs: list[TransportOutput] = []
        run = partial(_solve_all, problems, outputs)
        row[f"{name}_seconds"] = seconds(run, bench.options.device)
        row[f"{name}_share"] = row[f"{name}_seconds"] / case.forward_seconds
        row[f"{name}_method"] = "+".join(sorted({way for o in outputs for way in o.solved_by}))
    return row | {"fit_seconds": fit_seconds, "fit_share": fit_seconds / case.forward_seconds}


def _fold_problems(
    case: Case, ground_cost: CrossFittedCost, reference_NM: Tensor, device: str
) -> list[TransportProblem]:
    problems = []
    for fold, fitted in enumerate(ground_cost.costs):
        rows = ground_cost.fold_N == fold
        source_BK = fitted.source_NK(case.predictions.rows(rows))
        problem = TransportProblem(source_BK, reference_NM[rows], fitted.cost_KM)
        problems.append(on_device(problem, device))
    return problems


def _solve_all(problems: list[TransportProblem], outputs: list[TransportOutput]) -> None:
    outputs[:] = [solve(problem, tolerance=SCORE_TOLERANCE) for problem in problems]


def memory(bench: Bench) -> list[Row]:
    """Peak memory above the inputs, in a process of its own."""
    script = Path(__file__).with_name("transport_memory.py")
    command = [sys.executable, script, bench.options.device, str(bench.options.threads)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return [json.loads(answer.stdout)]


PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    part.__name__: part for part in (peak, matched, iterations, forward, memory)
}


def table(rows: list[Row]) -> str:
    """A Markdown table; columns in the order in which rows first have them."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_text(column, row.get(column)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(column: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if column.endswith(("_error", "_gap", "_share", "share_of_peak")):
        return f"{value:.3%}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def environment(options: argparse.Namespace) -> dict[str, str]:
    """What the times depend on."""
    versions = {}
    for package in ("torch", "POT", "geomloss", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed: left out"
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "threads": str(options.threads),
        **versions,
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path, required=True, help="folder of teacher folders")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--samples", type=int, default=512, help="images of each probe set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cache", type=Path, default=Path(".bench"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="TEACHER",
        default=["mobilenetv2_imagenet", "mobilenetv2_inat_birds"],
        help="teachers on which solvers are compared",
    )
    parser.add_argument("--json", type=Path, help="file for all rows")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    about = environment(options)
    print("; ".join(f"{name} {value}" for name, value in about.items()))
    results: dict[str, list[Row]] = {}
    bench = Bench(options)
    with threadpool_limits(options.threads):
        for name in options.only:
            results[name] = PARTS[name](bench)
            print(
                f"\n## {name}\n\n{inspect.getdoc(PARTS[name])}\n\n{table(results[name])}",
                flush=True,
            )
            if options.json:
                options.json.write_text(json.dumps({"environment": about, **results}, indent=1))


if __name__ == "__main__":
    main()
