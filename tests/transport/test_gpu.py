"""The same answers on a GPU: ``uv run pytest -m gpu``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rayxkd.transport import TransportLoss, TransportProblem, entropic_transport, solve
from rayxkd.transport.loss import FORMS
from tests.transport.conftest import random_problem, with_one_hot_targets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_gpu(problem: TransportProblem) -> TransportProblem:
    return replace(
        problem,
        source_NK=problem.source_NK.cuda(),
        target_NM=problem.target_NM.cuda(),
        cost_KM=problem.cost_KM.cuda(),
    )


@pytest.mark.parametrize("method", ["exact", "truncated", "sinkhorn", "auto"])
@pytest.mark.parametrize("changes", [{}, {"mass": 0.5}], ids=str)
def test_solvers_agree(method: str, changes: dict[str, float]) -> None:
    problem = replace(random_problem(60, samples=200, teacher_classes=300), **changes)
    here, there = solve(problem, method), solve(on_gpu(problem), method)
    assert there.method == here.method
    assert there.cost_N.is_cuda
    torch.testing.assert_close(there.cost_N.cpu(), here.cost_N, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(there.lower_bound_N.cpu(), here.lower_bound_N, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(there.plan(3).cpu(), here.plan(3), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        there.transport_map().cpu(), here.transport_map(), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("changes", [{}, {"source_penalty": 1.0}, {"mass": 0.5}], ids=str)
def test_closed_forms_agree(changes: dict[str, float]) -> None:
    problem = replace(with_one_hot_targets(random_problem(61, samples=50)), **changes)
    here, there = solve(problem), solve(on_gpu(problem))
    assert there.method == "closed_form"
    torch.testing.assert_close(there.cost_N.cpu(), here.cost_N)


def test_penalties_and_the_log_domain_agree() -> None:
    problem = random_problem(62, samples=20)
    for changes, epsilon in (({"source_penalty": 1.0}, 0.1), ({}, 1e-3)):
        scaled = replace(problem, cost_KM=problem.cost_KM / problem.cost_KM.max(), **changes)
        here = solve(scaled, "sinkhorn", epsilon=epsilon)
        there = solve(on_gpu(scaled), "sinkhorn", epsilon=epsilon)
        assert there.solved_by == here.solved_by
        torch.testing.assert_close(there.cost_N.cpu(), here.cost_N, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_under_autocast(form: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(64, 10, generator=generator).cuda().requires_grad_()
    teacher = torch.randn(64, 500, generator=generator).cuda()
    loss = TransportLoss(3 * torch.rand(500, 10, generator=generator), form=form).cuda()
    expected = loss(student, teacher)
    (wanted,) = torch.autograd.grad(expected, student)
    with torch.autocast("cuda", dtype=dtype):
        value = loss(student, teacher)
    (found,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(found, wanted)


def test_values_and_gradients_agree() -> None:
    problem = random_problem(63, samples=30, teacher_classes=100)
    epsilon = 0.1 * float(problem.cost_KM.median())
    gradients = []
    for place in ("cpu", "cuda"):
        leaves = [
            part.to(place).requires_grad_()
            for part in (problem.source_NK, problem.target_NM, problem.cost_KM)
        ]
        answer = entropic_transport(*leaves, epsilon=epsilon, tolerance=1e-8, max_iterations=5_000)
        gradients.append([part.cpu() for part in torch.autograd.grad(answer.value_N.sum(), leaves)])
    for here, there in zip(*gradients, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-7)
