"""Peak memory of one large problem, in a process of its own; prints one JSON object.

Run by ``transport.py``; alone: ``uv run python tests/benchmarks/transport_memory.py cpu``.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import torch
from torch import Tensor
from transport_cases import clock

from rayxkd.transport import TransportProblem, solve

NUM_SOURCE, NUM_TARGET, SAMPLES = 21841, 100, 1024
_MIB = 2**20


class PeakMemory:
    """The most memory that was in use since :meth:`start`, above what was in use then."""

    def __init__(self, device: str) -> None:
        self._on_gpu = device == "cuda"

    def start(self) -> None:
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            ctypes.CDLL(None).malloc_trim(0)
            # Linux: the high-water mark falls to what is resident now (man 5 proc_pid_clear_refs).
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")

    def mib(self) -> float:
        peak = torch.cuda.max_memory_allocated() if self._on_gpu else _status("VmHWM")
        return (peak - self._before) / _MIB


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {name}: this part needs Linux")


def _softmax_rows(samples: int, columns: int, height: float, generator: torch.Generator) -> Tensor:
    mass = torch.empty(samples, columns).normal_(generator=generator)
    return torch.softmax(mass.mul_(height), dim=1)


def problem_of(num_source: int, num_target: int, samples: int, device: str) -> TransportProblem:
    """Float32 inputs: a peaked teacher and a student."""
    generator = torch.Generator().manual_seed(0)
    source_NK = _softmax_rows(samples, num_source, 3.0, generator).to(device)
    target_NM = _softmax_rows(samples, num_target, 2.0, generator).to(device)
    cost_KM = torch.rand(num_source, num_target, generator=generator).to(device)
    return TransportProblem(source_NK, target_NM, cost_KM)


def main() -> None:
    device, threads = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    torch.set_num_threads(threads)
    problem = problem_of(NUM_SOURCE, NUM_TARGET, SAMPLES, device)
    inputs = (problem.source_NK, problem.target_NM, problem.cost_KM)
    # Small: what it frees and the allocator keeps would hide what the large one takes.
    solve(problem_of(50, 10, 8, device), "sinkhorn").lower_bound_N  # noqa: B018
    memory, now = PeakMemory(device), clock(device)
    memory.start()
    start = now()
    output = solve(problem, "sinkhorn")
    mean_cost = float(output.cost)
    taken, solving = now() - start, memory.mib()
    memory.start()
    start = now()
    bound = float(output.lower_bound_N.mean())
    answer = {
        "K": NUM_SOURCE,
        "M": NUM_TARGET,
        "N": SAMPLES,
        "inputs_mib": sum(part.nbytes for part in inputs) / _MIB,
        "solve_mib": solving,
        "solve_seconds": taken,
        "bound_mib": memory.mib(),
        "bound_seconds": now() - start,
        "converged": output.converged,
        "certified_gap": 1 - bound / mean_cost,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
