"""Models are as large as their weights file says, or they are not built."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.limits import build_within, check_finite
from rayxkd.teachers.loaders.safetensors_header import read_header
from tests.teachers.folders import WEIGHTS, load, preprocessing, write_card, write_weights


def small_folder(folder: Path, **entries: Any) -> Path:
    """A network of ours that was written with 5 classes and a width of 4."""
    from rayxkd.teachers.networks import create_network

    card = {
        "library_name": "rayxkd",
        "architecture": "small_resnet8",
        "num_classes": 5,
        "num_features": 16,
        "model_args": {"width": 4},
        "pretrained_cfg": preprocessing(16),
    }
    write_card(folder, **(card | entries))
    return write_weights(folder, create_network("small_resnet8", 5, width=4))


def reason_of(folder: Path) -> str:
    with pytest.raises(TeacherError) as caught:
        load(folder)
    assert caught.value.status is Status.INVALID
    return caught.value.reason


def test_what_fits_is_loaded(tmp_path):
    assert load(small_folder(tmp_path)).parameters > 0


def test_a_card_that_asks_for_much_more_is_refused_before_memory_is_taken(tmp_path):
    small_folder(
        tmp_path,
        library_name="timm",
        architecture="vit_tiny_patch16_224",
        num_classes=1_000_000,
        model_args={"embed_dim": 300_000, "depth": 1, "num_heads": 1},
        num_features=None,
    )
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    assert "asks for a vit_tiny_patch16_224 of more than 256 MiB" in reason_of(tmp_path)
    assert psutil.Process().memory_info().rss - before < 2**28
    assert time.perf_counter() - start < 20


def test_layers_without_end_end(tmp_path):
    args = {"depth": 10**9, "embed_dim": 192, "num_heads": 3}
    small_folder(
        tmp_path, library_name="timm", architecture="vit_tiny_patch16_224", model_args=args
    )
    assert "MiB" in reason_of(tmp_path)


def test_the_first_tensor_that_differs_is_named(tmp_path):
    reason = reason_of(small_folder(tmp_path, model_args={"width": 8}))
    assert "'stem.0.weight' is of shape [4, 3, 3, 3], the architecture wants [8, 3, 3, 3]" in reason


class NeedsNumbers(nn.Module):
    """Cannot be built without memory, as it looks at a tensor's numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rates = [float(rate) for rate in torch.linspace(0, 1, 3)]
        self.layer = nn.Linear(width, width)


def test_a_model_that_computes_while_it_is_built_is_bounded_all_the_same(tmp_path):
    header = read_header(small_folder(tmp_path) / "model.safetensors")
    built = build_within(header, "computing", lambda: NeedsNumbers(3))
    assert built.get_parameter("layer.weight").shape == (3, 3)
    assert not built.get_parameter("layer.weight").is_meta
    with pytest.raises(TeacherError, match="more than 256 MiB"):
        build_within(header, "computing", lambda: NeedsNumbers(10**6))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_invalid(value, dtype):
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).to(dtype)
    network.register_buffer("mask", torch.tensor(float("-inf")))
    check_finite(network)
    network[1].running_var[1] = value  # type: ignore[union-attr, index]
    with pytest.raises(TeacherError, match=r"'1\.running_var' holds NaN or infinity"):
        check_finite(network)
    with torch.no_grad():
        network[0].weight[0, 1] = value
    with pytest.raises(TeacherError, match=r"'0\.weight' holds NaN or infinity"):
        check_finite(network)


def test_another_feature_width_is_invalid(tmp_path):
    reason = reason_of(small_folder(tmp_path, num_features=512))
    assert "its features are 16 wide; its card says num_features 512" in reason


def test_weights_from_before_batches_were_counted_are_loaded(tmp_path):
    folder = small_folder(tmp_path)
    weights = load_file(folder / WEIGHTS)
    old = {name: one for name, one in weights.items() if "num_batches_tracked" not in name}
    assert len(old) < len(weights)
    save_file(old, folder / WEIGHTS)
    assert load(folder).parameters > 0
