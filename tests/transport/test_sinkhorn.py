"""Entropic transport: accuracy, precision, certificates, memory."""

from __future__ import annotations

from dataclasses import replace

import ot
import pytest
import torch
from hypothesis import given, settings

from rayxkd.transport import TransportProblem, default_epsilon, solve
from rayxkd.transport.solvers import SinkhornSettings, solve_sinkhorn
from rayxkd.transport.solvers.scaling import iterate_kernel
from tests.transport.conftest import emd_costs, height, problems, random_problem, rounding


def median_height(problem: TransportProblem) -> float:
    return float((problem.cost_KM - problem.cost_KM.min()).median()) or height(problem) or 1.0


@given(problems())
@settings(max_examples=100, deadline=None)
def test_small_epsilon_is_within_one_percent(problem: TransportProblem) -> None:
    epsilon = 0.01 * median_height(problem)
    output = solve(problem, "sinkhorn", epsilon=epsilon, tolerance=1e-4)
    exact_N = emd_costs(problem)
    assert not torch.isnan(output.cost_N).any()
    assert (output.cost_N - exact_N >= -rounding(problem)).all(), "no plan is cheaper than the best"
    # One percent of the cost above the least entry: a constant in C is paid by every plan.
    above_N = (exact_N - problem.cost_KM.min()).clamp_min(0.1 * median_height(problem))
    excess_N = (output.cost_N - exact_N)[output.converged_N]
    assert (excess_N <= 0.01 * above_N[output.converged_N]).all()


@given(problems())
@settings(max_examples=100, deadline=None)
def test_the_dual_is_below_and_the_primal_above(problem: TransportProblem) -> None:
    exact_N, slack = emd_costs(problem), rounding(problem)
    for fraction in (0.5, 0.05):
        output = solve(problem, "sinkhorn", epsilon=fraction * median_height(problem))
        assert (output.lower_bound_N <= exact_N + slack).all()
        assert (output.cost_N >= exact_N - slack).all()
        torch.testing.assert_close(output.gap_N, output.cost_N - output.lower_bound_N)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_unfinished_costs_are_still_certified(problem: TransportProblem) -> None:
    epsilon = 0.02 * median_height(problem)
    output = solve(problem, "sinkhorn", epsilon=epsilon, tolerance=1e-12, max_iterations=3)
    exact_N, slack = emd_costs(problem), rounding(problem)
    assert (output.lower_bound_N <= exact_N + slack).all()
    assert (output.cost_N >= exact_N - slack).all()
    assert torch.equal(output.converged_N, output.marginal_error_N <= 1e-12)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_float32_costs_are_those_of_float64(problem: TransportProblem) -> None:
    """Where range(C) / epsilon is at most 60; above, float64 is taken anyway.

    A few samples need more than 10,000 iterations in any precision: what their marginals still miss
    is moved by at most the range of C.
    """
    epsilon = max(height(problem) / 60, 1e-12)
    single, double = (
        solve_sinkhorn(problem, SinkhornSettings(epsilon, tolerance=1e-5, dtype=dtype))
        for dtype in (torch.float32, torch.float64)
    )
    missed_N = single.marginal_error_N + double.marginal_error_N
    unfinished_N = torch.where(double.converged_N, 0.0, missed_N * height(problem))
    scale = float(problem.cost_KM.abs().max())
    allowed_N = 1e-6 * (scale + double.cost_N.abs()) + unfinished_N
    assert ((single.cost_N - double.cost_N).abs() <= allowed_N).all()


def test_ordinary_problems_are_within_one_percent() -> None:
    problem = random_problem(1, samples=32, teacher_classes=60, target_classes=8, zeros=0.3)
    output = solve(problem, "sinkhorn", tolerance=1e-4)
    assert output.converged
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=0.01, atol=0)


def test_the_log_domain_takes_over_where_the_kernel_would_vanish() -> None:
    problem = random_problem(5, samples=4)
    spread = height(problem)
    # Range over epsilon is 2,000: exp(-2000) is zero in any precision.
    output = solve(
        problem, "sinkhorn", epsilon=spread / 2000, tolerance=1e-4, max_iterations=20_000
    )
    assert output.solved_by == {"log_domain": 4}
    assert torch.isfinite(output.cost_N).all()
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=1e-2, atol=1e-3 * spread)
    mean_KM = torch.stack([output.plan(i) for i in range(4)]).mean(dim=0)
    torch.testing.assert_close(output.transport_map(), mean_KM)


def test_kernel_and_log_domain_find_the_same_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(6)
    settings = SinkhornSettings(0.05 * median_height(problem), tolerance=1e-10)
    kernel = solve_sinkhorn(problem, settings)
    monkeypatch.setattr("rayxkd.transport.solvers.sinkhorn.FLOAT64_RANGE", 0.0)
    log_domain = solve_sinkhorn(problem, settings)
    assert log_domain.solved_by == {"log_domain": 6}
    assert kernel.converged
    assert log_domain.converged
    torch.testing.assert_close(kernel.cost_N, log_domain.cost_N, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(kernel.plan(0), log_domain.plan(0), rtol=1e-6, atol=1e-9)


def test_samples_that_leave_the_range_of_numbers_are_finished_in_the_log_domain() -> None:
    """Masses of 1e-300 on one side and none elsewhere."""
    problem = random_problem(21, samples=3, zeros=0.0)
    target_NM = problem.target_NM.clone()
    target_NM[0] = 1e-308
    target_NM[0, 2] = 1.0
    extreme = replace(problem, target_NM=target_NM)
    output = solve(extreme, "sinkhorn", epsilon=height(problem) / 250, tolerance=1e-4)
    assert torch.isfinite(output.cost_N).all()
    torch.testing.assert_close(output.cost_N, emd_costs(extreme), rtol=2e-2, atol=0)


def test_entropic_plans_agree_with_pot() -> None:
    problem = random_problem(7, zeros=0.0)
    epsilon = 0.1 * median_height(problem)
    output = solve(problem, "sinkhorn", epsilon=epsilon, tolerance=1e-12)
    for sample in range(problem.num_samples):
        expected = ot.sinkhorn(
            problem.source_NK[sample].numpy(),
            problem.target_NM[sample].numpy(),
            problem.cost_KM.numpy(),
            reg=epsilon,
            stopThr=1e-12,
            numItermax=100_000,
        )
        torch.testing.assert_close(
            output.plan(sample), torch.from_numpy(expected), rtol=0, atol=1e-9
        )


def test_finished_samples_leave_the_batch_unharmed() -> None:
    """Samples that need 5 and 500 iterations, solved together and apart."""
    problem = random_problem(22, samples=40, teacher_classes=30)
    epsilon = 0.02 * median_height(problem)
    kernel_KM = torch.exp(-problem.cost_KM / epsilon)
    start_NM = (problem.target_NM > 0).double()
    from rayxkd.transport.solvers.scaling import Relaxation

    balanced = Relaxation(torch.inf, torch.inf, epsilon)
    together = iterate_kernel(
        problem.source_NK,
        problem.target_NM,
        kernel_KM,
        start_NM,
        balanced,
        tolerance=1e-8,
        max_iterations=20_000,
    )
    u_NK = problem.source_NK / (together @ kernel_KM.T)
    error_N = (together * (u_NK @ kernel_KM) - problem.target_NM).abs().sum(dim=1)
    assert (error_N <= 1e-8).all()


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_nothing(chunk: int) -> None:
    problem = random_problem(14, samples=10)
    torch.testing.assert_close(
        solve(problem, "sinkhorn", chunk=chunk).cost_N,
        solve(problem, "sinkhorn").cost_N,
        rtol=1e-6,
        atol=1e-9,
    )


def test_default_epsilon_scales_with_the_cost() -> None:
    cost_KM = random_problem(15).cost_KM
    epsilon = default_epsilon(cost_KM)
    assert default_epsilon(cost_KM * 1000 - 5) == pytest.approx(1000 * epsilon)
    assert default_epsilon(torch.full((3, 4), 2.0)) == 1.0
    almost_constant = torch.zeros(3, 3)
    almost_constant[0, 0] = 8.0
    assert default_epsilon(almost_constant) == pytest.approx(0.16)
