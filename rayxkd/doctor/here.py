"""This machine: versions, torch and its GPUs, room in memory and on disk."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rayxkd
from rayxkd.doctor.checks import Check, State, failed, guarded, ok, skipped, warning

# A distribution by its name, as importlib.metadata finds it.
Finder = Callable[[str], Any]

_TOLD_ALONE = ("ray", "torch", "torchvision")
_EXTRAS = {
    "timm": "timm's architectures",
    "s3": "s3:// addresses",
    "gcs": "gs:// addresses",
    "hub": "hf:// addresses",
    "onnx": "--onnx",
}
_GIBIBYTE = 2**30
_SHARED_MEMORY = 2 * _GIBIBYTE
_FREE_DISK = 5 * _GIBIBYTE
# Importing torch from a cold network disk takes minutes.
_TORCH_SECONDS = 300.0
_DRIVER_SECONDS = 20.0
_REINSTALL = "Install rayxkd anew, with all that it needs: pip install --force-reinstall rayxkd."


def examine_machine() -> Iterator[Check]:
    """Look at this machine, in the order in which one thing needs another."""
    yield from guarded("packages", _REINSTALL, examine_packages)
    yield from guarded("torch at work", _REINSTALL, examine_torch)
    yield from guarded("shared memory", "See that /dev/shm can be read.", examine_shared_memory)
    yield from guarded(
        "cache folder", "Set XDG_CACHE_HOME to a folder that can be read.", examine_cache
    )


def examine_packages(find: Finder = importlib.metadata.distribution) -> Iterator[Check]:
    """Compare what is installed with the ranges that rayxkd's own metadata name.

    Args:
        find: raises ``PackageNotFoundError`` for a package that is not installed.
    """
    from packaging.requirements import Requirement  # may be missing like any other

    here = f"{rayxkd.__version__} in {Path(rayxkd.__file__).parent}"
    try:
        own = find("rayxkd")
    except importlib.metadata.PackageNotFoundError:
        yield ok("Python", f"{platform.python_version()} at {sys.executable}")
        yield skipped("rayxkd", f"{here}, not installed: the versions it needs are not known")
        return
    yield _python(own.metadata["Requires-Python"])
    yield _same_rayxkd(own.version, here)
    requirements = [Requirement(line) for line in own.requires or ()]
    yield from _needed([one for one in requirements if one.marker is None], find)
    for extra in _EXTRAS:
        asked = [one for one in requirements if one.marker and _of_extra(one, extra)]
        yield from _extra(extra, asked, find)


def _python(asked: str) -> Check:
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    if SpecifierSet(asked).contains(version, prereleases=True):
        return ok("Python", f"{version} at {sys.executable}")
    return failed("Python", f"{version} is not {asked}", f"Use Python {asked} for rayxkd.")


def _same_rayxkd(installed: str, here: str) -> Check:
    if installed == rayxkd.__version__:
        return ok("rayxkd", here)
    return warning(
        "rayxkd",
        f"{here}, but version {installed} is what is installed",
        "Install rayxkd anew in this environment, so that its metadata are those of its code.",
    )


def _of_extra(requirement: Any, extra: str) -> bool:
    return not requirement.marker.evaluate({"extra": ""}) and bool(
        requirement.marker.evaluate({"extra": extra})
    )


def _needed(requirements: list[Any], find: Finder) -> Iterator[Check]:
    """Big ones in a line each; of the others only what is amiss, and how many are well."""
    well = 0
    for requirement in sorted(requirements, key=lambda one: one.name.lower() not in _TOLD_ALONE):
        check = _package(requirement, find)
        if requirement.name.lower() in _TOLD_ALONE or check.state != State.OK:
            yield check
        else:
            well += 1
    yield ok("other packages", f"{well} more that rayxkd needs are there in versions that fit")


def _package(requirement: Any, find: Finder) -> Check:
    name, asked = requirement.name, str(requirement.specifier)
    install = f"Install it: pip install '{requirement}'."
    try:
        version = find(name).version
    except importlib.metadata.PackageNotFoundError:
        return failed(name, f"not installed; {asked} is needed", install)
    if requirement.specifier.contains(version, prereleases=True):
        return ok(name, f"{version} (needed: {asked})")
    return failed(
        name, f"{version} is not {asked}", f"Change its version: pip install '{requirement}'."
    )


def _extra(extra: str, asked: list[Any], find: Finder) -> Iterator[Check]:
    checks = [_package(requirement, find) for requirement in asked]
    name, use = f"extra {extra}", _EXTRAS[extra]
    install = f"pip install 'rayxkd[{extra}]'"
    missing = [check for check in checks if "not installed" in check.detail]
    wrong = [check for check in checks if check.state == State.FAILED and check not in missing]
    if wrong:
        detail = ", ".join(f"{check.name} {check.detail}" for check in wrong)
        yield warning(name, f"{detail}; for {use}", f"Change its version: {install}.")
    elif missing:
        names = ", ".join(check.name for check in missing)
        yield skipped(name, f"no {names}; {install} brings it, for {use}")
    elif checks:
        yield ok(name, ", ".join(f"{one.name} {find(one.name).version}" for one in asked))


def examine_torch(python: str = sys.executable) -> Iterator[Check]:
    """Try torch, torchvision and every GPU, in a process that may fall.

    Args:
        python: the interpreter that does it.
    """
    script = Path(__file__).with_name("torch_child.py")
    # Without -P the modules of this folder would hide others of the same names.
    command = [python, "-P", str(script), driver_version()]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TORCH_SECONDS, check=False
        )
        output, end = done.stdout, _how_it_ended(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode()
        end = f"no answer within {_TORCH_SECONDS:g} s"
    yield from checks_of_child(output, end)


def _how_it_ended(code: int, errors: str) -> str:
    """Why a process ended badly; empty if it did not."""
    if code == 0:
        return ""
    last = errors.strip().splitlines()[-1:] or [""]
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the process that tried it ended with {how}" + (f": {last[0]}" if last[0] else "")


def checks_of_child(output: str, end: str) -> Iterator[Check]:
    """Read what ``torch_child`` printed; where it ended badly, its last step failed.

    Args:
        output: its lines; a library's own are passed over.
        end: why it ended badly; empty if it did not.
    """
    begun = "torch at work"
    for line in output.splitlines():
        try:
            kind, *content = json.loads(line)
        except (ValueError, TypeError):
            continue
        if kind == "begin":
            begun = content[0]
        elif kind == "check":
            name, state, detail, mend = content
            yield Check(name, State(state), detail, mend)
    if end:
        yield failed(
            begun,
            end,
            "Install torch and torchvision anew for this machine, and see that its GPU driver "
            "works (nvidia-smi).",
        )


def driver_version() -> str:
    """The version of the NVIDIA driver; empty where there is none that answers."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DRIVER_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.split() or [""])[0]


def examine_shared_memory(folder: str = "/dev/shm") -> Iterator[Check]:
    """Look at the memory through which Ray's processes share what they read."""
    if not Path(folder).is_dir():
        yield skipped("shared memory", f"there is no {folder} here")
        return
    usage = shutil.disk_usage(folder)
    detail = f"{_gibibytes(usage.free)} of {_gibibytes(usage.total)} free in {folder}"
    if usage.free >= _SHARED_MEMORY:
        yield ok("shared memory", detail)
        return
    yield warning(
        "shared memory",
        f"{detail}: Ray falls back on the disk, and is slow",
        "Give this machine more shared memory: docker run --shm-size=8g, or on Kubernetes an "
        "emptyDir of medium Memory at /dev/shm.",
    )


def examine_cache(least: float = _FREE_DISK) -> Iterator[Check]:
    """Look at the disk below the folder where rayxkd keeps what it can make again.

    Args:
        least: bytes below which it is a warning.
    """
    import platformdirs

    folder = Path(platformdirs.user_cache_path("rayxkd"))
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    detail = f"{_gibibytes(free)} free for {folder}"
    if free >= least:
        yield ok("cache folder", detail)
    else:
        mend = f"Free some disk space for {folder}, or set XDG_CACHE_HOME to a folder elsewhere."
        yield warning("cache folder", detail, mend)


def _gibibytes(amount: float) -> str:
    return f"{amount / _GIBIBYTE:.1f} GiB"
