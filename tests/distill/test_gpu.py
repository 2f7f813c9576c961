"""A distillation on a GPU: ``uv run pytest -m gpu``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rayxkd.distill.outcome import DistillReport

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("teacher_pass", ["cached", "online"])
def test_a_student_learns_on_a_gpu(run: Callable[..., DistillReport], teacher_pass: str) -> None:
    training = {"epochs": 8, "epoch_images": 1_000}
    report = run(training=training, teacher_pass=teacher_pass)
    assert torch.cuda.max_memory_allocated() > 0
    assert report.epochs == 8
    assert report.test is not None
    assert report.test.accuracy > 0.6, "chance is 0.2"
