"""Trying torch and the GPUs, in a process of its own: a broken build or driver may end it.

Run as a script; every line of output is a JSON list: ``["begin", what]`` before a step, and
``["check", name, state, detail, mend]`` for what it found. It imports nothing of rayxkd.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

_PAIR_MEND = (
    "Install torch and torchvision anew, together and from one index, so that they fit each other."
)
_BUILD_MEND = "Install the build of torch for your CUDA version: https://pytorch.org/get-started."
_GIBIBYTE = 2**30


def _say(*line: str) -> None:
    print(json.dumps(line), flush=True)


def _check(name: str, state: str, detail: str, mend: str = "") -> None:
    _say("check", name, state, detail, mend)


def _step(name: str, mend: str, work: Callable[..., None], *arguments: Any) -> bool:
    """Whether a step went through; if not, that is a failed check."""
    _say("begin", name)
    try:
        work(*arguments)
    except BaseException as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        _check(name, "failed", text, mend)
        return False
    return True


def _pair() -> None:
    """An operator in C++ of torchvision is missing wherever it was built for another torch."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.1], [5.0, 5.0, 6.0, 6.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    if kept.tolist() != [0, 2]:
        raise RuntimeError(f"torchvision.ops.nms keeps {kept.tolist()} where [0, 2] is right")
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    _check("torch at work", "ok", f"{versions}: both load, and their operators fit each other")


def _cuda(driver: str) -> None:
    """The CUDA build against the driver; ``driver`` is its version, empty without one."""
    import torch

    if torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
        _check("CUDA", "ok", f"torch is built for {build}; driver {driver or 'found'}")
    else:
        _check("CUDA", *_without_gpu(torch.version.cuda, driver, os.environ))


def _without_gpu(built_for: str | None, driver: str, environment: Any) -> tuple[str, str, str]:
    """State, detail and mend where torch sees no GPU."""
    if not driver:
        build = f"built for CUDA {built_for}" if built_for else "built for CPUs"
        return "ok", f"torch is {build}; no NVIDIA driver here: everything runs on the CPU", ""
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "NoDevFiles"):
        hidden = f"driver {driver}, but CUDA_VISIBLE_DEVICES hides every GPU"
        return "warning", hidden, "Unset CUDA_VISIBLE_DEVICES to work on the GPUs."
    if not built_for:
        detail = f"driver {driver}, but torch is built for CPUs: the GPUs lie idle"
        return "warning", detail, _BUILD_MEND
    return (
        "failed",
        f"torch is built for CUDA {built_for} and cannot use driver {driver}",
        f"Update the NVIDIA driver, or install a torch that is built for an older CUDA than "
        f"{built_for}.",
    )


def _gpu(index: int) -> None:
    """A product of two small matrices whose sum is known."""
    import torch

    size = 256
    ones = torch.ones(size, size, device=f"cuda:{index}")
    total = float((ones @ ones).sum())
    if total != size**3:
        raise RuntimeError(f"the sum of a matrix product is {total:g} where {size**3} is right")
    free, whole = (amount / _GIBIBYTE for amount in torch.cuda.mem_get_info(index))
    name = torch.cuda.get_device_name(index)
    detail = f"{name}, {free:.1f} of {whole:.1f} GiB free, multiplies matrices rightly"
    _check(f"GPU {index}", "ok", detail)


def main(driver: str) -> None:
    """All steps, one after another; those that need an earlier one that failed are left out."""
    if not _step("torch at work", _PAIR_MEND, _pair):
        return
    if not _step("CUDA", _BUILD_MEND, _cuda, driver):
        return
    import torch

    for index in range(torch.cuda.device_count()):
        _step(
            f"GPU {index}",
            f"End what else runs on GPU {index} (nvidia-smi lists it), or reset or replace it.",
            _gpu,
            index,
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
