"""Memory that workers free and ask for again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

BLOCKS = """
import resource, sys
import numpy as np
from rayxkd.fleet.memory import keep_freed
if sys.argv[1] == "keep":
    keep_freed()
for _ in range(3):
    np.ones(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the kernel had to clear for twenty blocks of 64 MiB, one after another."""
    run = [sys.executable, "-c", BLOCKS, how]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_is_used_again() -> None:
    assert faults("keep") < faults("as it comes") / 20
