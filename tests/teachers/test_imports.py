"""What is imported before teachers are loaded."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import run

import pytest

from rayxkd.teachers.card import WEIGHT_FILES
from rayxkd.teachers.loaders.libraries import modules_of


def test_what_is_imported_beforehand_exists() -> None:
    """Nothing tells of a module that has been renamed, but that teachers load slowly again."""
    modules = modules_of(WEIGHT_FILES)
    installed = [module for module in modules if find_spec(module.partition(".")[0])]
    assert len(installed) >= 4
    assert [module for module in installed if find_spec(module) is None] == []


def test_each_library_brings_its_own() -> None:
    assert modules_of(["rayxkd", "torchscript"]) == ()
    assert modules_of(["timm pretrained", "timm"]) == modules_of(["timm"]) == ("timm",)
    assert set(modules_of(["onnx", "timm"])) == {"onnxruntime", "timm"}


@pytest.mark.parametrize(
    ("teacher", "left"), [("mobilenetv2_imagenet", 20), ("mobilenetv1_025_imagenet", 100)]
)
def test_little_is_left_to_import(shared: Path, teacher: str, left: int) -> None:
    script = """
import sys
from importlib import import_module
from pathlib import Path
import torch
import rayxkd.assess.worker
from rayxkd.teachers import load_teacher, open_repositories
from rayxkd.teachers.loaders.libraries import modules_of
folder = Path(sys.argv[1])
(card,) = open_repositories([str(folder)])[0].cards()
for module in modules_of([card.library]):
    import_module(module)
before = set(sys.modules)
load_teacher(card, folder / card.weights_file, torch.device("cpu"))
print(len(set(sys.modules) - before))
"""
    words = [sys.executable, "-c", script, str(shared / "zoo" / teacher)]
    told = run(words, capture_output=True, text=True, check=True).stdout
    assert int(told) < left
