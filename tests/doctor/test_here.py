"""What the doctor says of a machine."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rayxkd
from rayxkd.doctor.checks import Check, State
from rayxkd.doctor.here import (
    checks_of_child,
    examine_cache,
    examine_packages,
    examine_shared_memory,
    examine_torch,
)
from rayxkd.doctor.torch_child import _without_gpu


def found(**versions: str | None) -> Any:
    """The real metadata, but other versions of some packages; ``None`` is one not installed."""

    def find(name: str) -> Any:
        if name not in versions:
            return importlib.metadata.distribution(name)
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return SimpleNamespace(version=versions[name])

    return find


def by_name(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_this_environment_is_well() -> None:
    checks = by_name(examine_packages())
    assert {check.state for check in checks.values()} <= {State.OK, State.SKIPPED}
    assert checks["rayxkd"].detail.startswith(rayxkd.__version__)
    assert importlib.metadata.version("ray") in checks["ray"].detail


def test_versions_outside_our_ranges_and_missing_packages_are_told() -> None:
    checks = by_name(examine_packages(found(torch="2.4.0+cu121", optuna=None, ray="3.0.0")))
    assert checks["torch"].state == State.FAILED
    assert "2.4.0+cu121 is not >=2.11" in checks["torch"].detail
    assert checks["torch"].mend == "Change its version: pip install 'torch>=2.11'."
    assert checks["ray"].state == State.FAILED
    assert "not installed" in checks["optuna"].detail
    assert "pip install 'optuna>=4'" in checks["optuna"].mend
    assert checks["torchvision"].state == State.OK


def test_a_build_and_a_later_version_are_within_the_range() -> None:
    assert by_name(examine_packages(found(torch="2.99.1+cu140")))["torch"].state == State.OK


def test_an_extra_is_there_missing_or_too_old() -> None:
    checks = by_name(examine_packages(found(timm=None, s3fs="2020.1", onnx=None)))
    assert checks["extra timm"].state == checks["extra onnx"].state == State.SKIPPED
    assert "pip install 'rayxkd[timm]'" in checks["extra timm"].detail
    assert checks["extra s3"].state == State.WARNING
    assert "s3fs 2020.1 is not >=2024.10" in checks["extra s3"].detail


def test_a_package_that_is_not_installed_is_run_from_its_folder() -> None:
    checks = by_name(examine_packages(found(rayxkd=None)))
    assert checks["rayxkd"].state == State.SKIPPED
    assert "not installed" in checks["rayxkd"].detail


def test_torch_is_tried_in_a_process_of_its_own() -> None:
    checks = by_name(examine_torch())
    assert checks["torch at work"].state == State.OK
    assert "CUDA" in checks


def test_an_interpreter_without_torch_is_one_line(tmp_path: Path) -> None:
    # Without site-packages there is nothing but the standard library.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    (check,) = examine_torch(str(bare))
    assert check.state == State.FAILED
    assert check.detail == "No module named 'torch'"
    assert check.mend.startswith("Install torch and torchvision anew")


def test_a_process_that_falls_is_a_failed_step(tmp_path: Path) -> None:
    falling = tmp_path / "python"
    begun = json.dumps(["begin", "GPU 3"])
    falling.write_text(f"#!/bin/sh\necho noise\necho '{begun}'\nkill -SEGV $$\n")
    falling.chmod(0o755)
    (check,) = examine_torch(str(falling))
    assert (check.name, check.state) == ("GPU 3", State.FAILED)
    assert "SIGSEGV" in check.detail


def test_what_a_process_said_before_it_fell_is_kept() -> None:
    lines = [["begin", "CUDA"], ["check", "CUDA", "ok", "CUDA 13.2", ""], ["begin", "GPU 0"]]
    checks = list(checks_of_child("\n".join(map(json.dumps, lines)), "no answer within 300 s"))
    assert [check.state for check in checks] == [State.OK, State.FAILED]
    assert checks[1].name == "GPU 0"


@pytest.mark.parametrize(
    ("built_for", "driver", "visible", "state", "part"),
    [
        ("13.2", "", None, "ok", "everything runs on the CPU"),
        (None, "", None, "ok", "built for CPUs"),
        (None, "580.1", None, "warning", "the GPUs lie idle"),
        ("13.2", "470.2", None, "failed", "cannot use driver 470.2"),
        ("13.2", "580.1", "", "warning", "hides every GPU"),
    ],
)
def test_a_build_and_a_driver(
    built_for: str | None, driver: str, visible: str | None, state: str, part: str
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found_state, detail, mend = _without_gpu(built_for, driver, environment)
    assert found_state == state
    assert part in detail
    assert bool(mend) == (state != "ok")


def test_room_in_memory_and_on_disk(tmp_path: Path) -> None:
    (missing,) = examine_shared_memory(str(tmp_path / "none"))
    assert missing.state == State.SKIPPED
    (here,) = examine_shared_memory(str(tmp_path))
    assert "GiB free" in here.detail
    (small,) = examine_cache(least=2.0**80)
    assert small.state == State.WARNING
    assert "XDG_CACHE_HOME" in small.mend
