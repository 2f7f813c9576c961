"""Optional libraries: none is imported before it is needed, and each is named where it lacks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fsspec.registry import _registry

from rayxkd.cli import main
from tests.conftest import REPO

EXTRAS = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MODULES = {
    *("timm", "s3fs", "gcsfs", "duckdb", "fastapi", "uvicorn", "huggingface_hub", "simpy"),
    *("onnx", "onnxruntime", "transformers"),
}


def run(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=cwd, timeout=120
    )


def test_nothing_optional_is_imported_with_the_package(tmp_path: Path) -> None:
    code = f"""
import sys, rayxkd, rayxkd.cli, rayxkd.teachers, rayxkd.data, rayxkd.leaderboard
print(sorted({MODULES!r} & sys.modules.keys()))
"""
    done = run(code, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


# What lacks, what is asked for, and the extra that the line names.
WITHOUT = [
    (["timm"], ["assess", "--repository", "timm://resnet18"], "timm"),
    (["huggingface_hub"], ["assess", "--repository", "hf://ann/small"], "hub"),
    (["s3fs"], ["assess", "--repository", "s3://bucket/teachers"], "s3"),
    (["gcsfs"], ["assess", "--repository", "gs://bucket/teachers"], "gcs"),
    (["simpy"], ["simulate"], "simulate"),
]


@pytest.mark.parametrize("case", WITHOUT)
def test_one_line_names_the_extra(
    case: tuple[list[str], list[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lacks, arguments, extra = case
    monkeypatch.chdir(tmp_path)
    for name in lacks:  # as if they were not installed
        monkeypatch.setitem(sys.modules, name, None)
    for protocol in ("s3", "gs"):  # fsspec keeps the classes that it has imported once
        monkeypatch.delitem(_registry, protocol, raising=False)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 1, told
    assert len(told) == 1, told
    assert f"rayxkd[{extra}]" in told[0]


def test_every_extra_that_is_named_is_one() -> None:
    sources = [path.read_text() for path in (REPO / "rayxkd").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"rayxkd\[(\w+)\]", text)}
    assert {"timm", "query", "serve", "simulate", "onnx", "hub"} <= named
    assert named <= EXTRAS.keys()
