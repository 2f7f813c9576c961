"""Memory does not grow with the number of samples, nor with what the classes multiply to."""

from __future__ import annotations

import subprocess
import sys

import pytest

GIBIBYTE = 2**30

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads peaks from /proc"),
]

# In a process of its own, where nothing else takes memory.
_MEASURE = """
import re, sys, torch
from pathlib import Path
from rayxkd.transport import TransportProblem, solve
torch.set_num_threads(1)
samples, sources, targets = map(int, sys.argv[1:4])
generator = torch.Generator().manual_seed(0)
def mass(columns):
    logits = torch.randn(samples, columns, generator=generator)
    return torch.softmax(2 * logits, dim=1)
cost = torch.rand(sources, targets, generator=generator)
problem = TransportProblem(mass(sources), mass(targets), cost)
def kibibytes(entry):
    return int(re.search(entry + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = kibibytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
output = solve(problem, "sinkhorn")
bound = output.lower_bound_N
assert output.converged and (bound <= output.cost_N).all()
output.transport_map()
print((kibibytes("VmHWM") - before) * 1024)
"""


def peak_above_inputs(samples: int, sources: int, targets: int) -> int:
    sizes = map(str, (samples, sources, targets))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *sizes],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.long
def test_the_largest_label_space_fits_into_two_gibibytes() -> None:
    assert peak_above_inputs(1_024, 21_841, 100) < 2 * GIBIBYTE


def test_memory_does_not_grow_with_the_samples() -> None:
    # What the kernel took away and reads anew, such as code, counts as well: the least of a few.
    few, many = (
        min(peak_above_inputs(samples, 2_000, 20) for _ in range(3)) for samples in (512, 8_192)
    )
    # Results and nothing else: 8,192 x 20 potentials and a few numbers a sample.
    assert many - few < 64 * 2**20
