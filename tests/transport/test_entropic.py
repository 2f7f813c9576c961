"""The differentiable transport cost: values, gradients, precision."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from rayxkd.transport import TransportProblem, entropic_transport, solve
from tests.transport.conftest import emd_costs, height, problems, random_problem

PENALTIES = [
    {},
    {"source_penalty": 0.5},
    {"target_penalty": 0.7},
    {"source_penalty": 0.5, "target_penalty": 0.3},
]


def median(problem: TransportProblem) -> float:
    return float(problem.cost_KM.median())


def leaves(problem: TransportProblem) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(  # type: ignore[return-value]
        part.clone().requires_grad_()
        for part in (problem.source_NK, problem.target_NM, problem.cost_KM)
    )


def value_of(plan_KM: Tensor, problem: TransportProblem, sample: int, epsilon: float) -> float:
    """<T, C> + epsilon KL(T | p (x) q), written down plainly."""
    product_KM = torch.outer(problem.source_NK[sample], problem.target_NM[sample])
    inside = product_KM > 0
    ratio = (plan_KM[inside] / product_KM[inside]).clamp_min(1e-300)
    return float(
        (plan_KM * problem.cost_KM).sum() + epsilon * (plan_KM[inside] * ratio.log()).sum()
    )


def unrolled(source: Tensor, target: Tensor, cost: Tensor, epsilon: float) -> Tensor:
    """The same values through 2,000 log-domain iterations that autograd records."""
    g = torch.zeros_like(target)
    for _ in range(2_000):
        f = -epsilon * torch.logsumexp((g[:, None, :] - cost) / epsilon + target.log()[:, None], 2)
        g = -epsilon * torch.logsumexp(
            (f[:, :, None] - cost) / epsilon + source.log()[:, :, None], 1
        )
    log_ratio = (f[:, :, None] + g[:, None, :] - cost) / epsilon
    plan = source[:, :, None] * target[:, None, :] * log_ratio.exp()
    return (plan * (cost + epsilon * log_ratio)).sum(dim=(1, 2))


@pytest.mark.parametrize("penalties", PENALTIES, ids=str)
def test_gradcheck(penalties: dict[str, float]) -> None:
    problem = random_problem(50, samples=3, teacher_classes=7, target_classes=4)
    cost_KM = (problem.cost_KM / height(problem)).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    logits = [
        torch.randn(3, size, dtype=torch.float64, generator=generator, requires_grad=True)
        for size in (7, 4)
    ]

    def value(source: Tensor, target: Tensor, cost: Tensor) -> Tensor:
        p, q = torch.softmax(source, dim=1), torch.softmax(target, dim=1)
        options: dict[str, Any] = {"tolerance": 1e-12, "max_iterations": 20_000}
        return entropic_transport(p, q, cost, epsilon=0.1, **options, **penalties).value_N

    assert torch.autograd.gradcheck(value, (*logits, cost_KM))


@pytest.mark.parametrize("fraction", [0.1, 0.05])
def test_the_envelope_gradient_is_that_of_unrolled_iterations(fraction: float) -> None:
    problem = random_problem(51, samples=4, teacher_classes=30, target_classes=6, zeros=0.0)
    epsilon = fraction * median(problem)
    ours, theirs = leaves(problem), leaves(problem)
    answer = entropic_transport(*ours, epsilon=epsilon, tolerance=1e-9, max_iterations=100_000)
    expected_N = unrolled(*theirs, epsilon)
    torch.testing.assert_close(answer.value_N, expected_N, rtol=1e-7, atol=0)
    answer.value_N.sum().backward()
    expected_N.sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        # Rows sum to one: only the part of a marginal's gradient along the simplex counts.
        if mine is not ours[2]:
            mine.grad -= mine.grad.mean(dim=1, keepdim=True)
            other.grad -= other.grad.mean(dim=1, keepdim=True)
        difference = (mine.grad - other.grad).norm() / other.grad.norm()
        assert float(difference) < 1e-4


def test_values_are_those_of_the_plans() -> None:
    problem = random_problem(52, samples=5)
    epsilon = 0.1 * median(problem)
    answer = entropic_transport(
        problem.source_NK,
        problem.target_NM,
        problem.cost_KM,
        epsilon=epsilon,
        tolerance=1e-11,
        max_iterations=50_000,
    )
    output = solve(problem, "sinkhorn", epsilon=epsilon, tolerance=1e-11, max_iterations=50_000)
    for sample in range(5):
        expected = value_of(output.plan(sample), problem, sample, epsilon)
        assert float(answer.value_N[sample]) == pytest.approx(expected, rel=1e-8)
    assert (answer.marginal_error_N <= 1e-11).all()


@given(problems())
@settings(max_examples=60, deadline=None)
def test_values_and_potentials_are_finite_for_every_problem(problem: TransportProblem) -> None:
    scale = height(problem) or 1.0
    epsilon = 0.05 * scale
    arguments = (problem.source_NK, problem.target_NM, problem.cost_KM)
    answer = entropic_transport(*arguments, epsilon=epsilon, max_iterations=5_000)
    for part in answer:
        assert torch.isfinite(part).all(), "classes without mass too: a student may give them some"
    slack = 1e-3 * scale
    assert (answer.value_N >= emd_costs(problem) - slack).all()
    single = entropic_transport(*(part.float() for part in arguments), epsilon=epsilon)
    largest = max(float(problem.cost_KM.abs().max()), epsilon)
    torch.testing.assert_close(
        single.value_N.double(), answer.value_N, rtol=1e-4, atol=2e-4 * largest
    )


def test_tiny_epsilon_takes_the_log_domain() -> None:
    problem = random_problem(53, samples=3)
    source, target, cost = leaves(problem)
    answer = entropic_transport(
        source, target, cost, epsilon=height(problem) / 1000, max_iterations=5_000
    )
    torch.testing.assert_close(
        answer.value_N.detach(), emd_costs(problem), rtol=0.02, atol=0.01 * height(problem)
    )
    answer.value_N.sum().backward()
    for leaf in (source, target, cost):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
    # dW/dC is the sum of the plans: all mass of three samples.
    assert float(cost.grad.sum()) == pytest.approx(3.0, rel=1e-2)  # type: ignore[union-attr]


def test_large_epsilon_tends_to_the_independent_coupling() -> None:
    problem = random_problem(54)
    answer = entropic_transport(
        problem.source_NK, problem.target_NM, problem.cost_KM, epsilon=1e6 * height(problem)
    )
    independent_N = ((problem.source_NK @ problem.cost_KM) * problem.target_NM).sum(dim=1)
    torch.testing.assert_close(answer.value_N, independent_N, rtol=1e-4, atol=0)


def test_penalties_only_make_it_cheaper() -> None:
    problem = random_problem(55)
    problem = replace(problem, cost_KM=problem.cost_KM / height(problem))
    arguments = (problem.source_NK, problem.target_NM, problem.cost_KM)
    values = [
        entropic_transport(*arguments, epsilon=0.05, source_penalty=rho, tolerance=1e-8).value_N
        for rho in (0.01, 0.1, 1.0, 1e4, math.inf)
    ]
    for cheaper, dearer in pairwise(values):
        assert (cheaper <= dearer + 1e-6).all()
    torch.testing.assert_close(values[-2], values[-1], rtol=1e-3, atol=1e-4)


def test_the_operator_is_registered_as_it_behaves() -> None:
    problem = random_problem(56, samples=2)
    from rayxkd.transport.entropic import _entropic_transport

    sample = (*leaves(problem), 0.5, math.inf, math.inf, 1e-8, 5_000)
    torch.library.opcheck(_entropic_transport, sample)


def test_bad_numbers_are_refused() -> None:
    problem = random_problem(57)
    arguments = (problem.source_NK, problem.target_NM, problem.cost_KM)
    with pytest.raises(ValueError, match="must be positive"):
        entropic_transport(*arguments, epsilon=0.0)
    with pytest.raises(ValueError, match="must be positive"):
        entropic_transport(*arguments, epsilon=1.0, source_penalty=-1.0)
