"""Teachers that several files ask."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.teachers.folders import PoolNet, export, preprocessing


@pytest.fixture(scope="session")
def pool_net() -> PoolNet:
    torch.manual_seed(0)
    return PoolNet().eval()


@pytest.fixture(scope="session")
def program_folder(pool_net: PoolNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pool_net` as a `torch.export` teacher that takes any batch of 3 x 16 x 16."""
    folder = tmp_path_factory.mktemp("program")
    card = {"num_classes": 5, "num_features": 4, "pretrained_cfg": preprocessing(16)}
    return export(pool_net, folder, torch.randn(2, 3, 16, 16), **card)
