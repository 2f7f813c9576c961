from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from rayxkd.errors import UserError
from rayxkd.transport import TransportProblem, solve
from rayxkd.transport.solvers import solve_closed_form, solve_exact, solve_sinkhorn
from rayxkd.transport.solvers.sinkhorn import round_to_marginals
from tests.transport.conftest import problems, random_problem


def emd_costs(problem: TransportProblem) -> Tensor:
    """The exact costs, by POT, one sample at a time."""
    cost_KM = problem.cost_KM.numpy()
    costs = [
        ot.emd2(p, q, cost_KM)
        for p, q in zip(problem.source_NK.numpy(), problem.target_NM.numpy(), strict=True)
    ]
    return torch.tensor(costs, dtype=torch.float64)


def with_one_hot_targets(problem: TransportProblem) -> TransportProblem:
    labels_N = problem.target_NM.argmax(dim=1)
    target_NM = torch.nn.functional.one_hot(labels_N, problem.target_NM.shape[1]).double()
    return TransportProblem(problem.source_NK, target_NM, problem.cost_KM)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_the_closed_form_is_the_exact_cost(problem: TransportProblem) -> None:
    problem = with_one_hot_targets(problem)
    output = solve(problem)
    assert output.method == "closed_form"
    assert output.converged
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=1e-12, atol=1e-12)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_the_exact_solver_agrees_with_pot(problem: TransportProblem) -> None:
    output = solve(problem, "exact")
    assert output.converged
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=1e-9, atol=1e-12)


@given(problems())
@settings(max_examples=40, deadline=None)
def test_sinkhorn_at_small_epsilon_is_within_one_percent(problem: TransportProblem) -> None:
    output = solve(problem, "sinkhorn")
    exact_N = emd_costs(problem)
    # Costs are compared on the scale of the ground cost: an exact cost may be almost zero.
    scale = float(problem.cost_KM.median())
    excess_N = (output.cost_N - exact_N)[output.converged_N]
    assert (excess_N >= -1e-9 * scale).all(), "the cost of a plan cannot be below the least"
    assert (excess_N <= 0.01 * exact_N[output.converged_N] + 0.01 * scale).all()


def test_sinkhorn_is_within_one_percent_on_ordinary_problems() -> None:
    problem = random_problem(1, samples=32, teacher_classes=60, target_classes=8, zeros=0.3)
    output = solve(problem, "sinkhorn")
    assert output.converged
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=0.01, atol=0)


@given(problems())
@settings(max_examples=30, deadline=None)
def test_plans_meet_their_marginals(problem: TransportProblem) -> None:
    for method in ("exact", "sinkhorn"):
        output = solve(problem, method)
        for sample in range(problem.num_samples):
            plan_KM = output.plan(sample)
            assert (plan_KM >= 0).all()
            torch.testing.assert_close(
                plan_KM.sum(dim=1), problem.source_NK[sample], rtol=0, atol=1e-9
            )
            torch.testing.assert_close(
                plan_KM.sum(dim=0), problem.target_NM[sample], rtol=0, atol=1e-9
            )
            cost = (plan_KM * problem.cost_KM).sum()
            torch.testing.assert_close(output.cost_N[sample], cost, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["exact", "sinkhorn"])
def test_permuted_classes_cost_the_same(method: str) -> None:
    problem = random_problem(2)
    rng = np.random.default_rng(0)
    rows, columns = (torch.from_numpy(rng.permutation(size)) for size in problem.cost_KM.shape)
    permuted = TransportProblem(
        problem.source_NK[:, rows], problem.target_NM[:, columns], problem.cost_KM[rows][:, columns]
    )
    torch.testing.assert_close(
        solve(permuted, method).cost_N, solve(problem, method).cost_N, rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("method", ["exact", "sinkhorn"])
def test_a_constant_cost_moves_all_mass_for_it(method: str) -> None:
    problem = random_problem(3)
    constant = TransportProblem(
        problem.source_NK, problem.target_NM, torch.full_like(problem.cost_KM, 2.5)
    )
    output = solve(constant, method)
    torch.testing.assert_close(output.cost_N, torch.full_like(output.cost_N, 2.5))


def test_moving_all_mass_of_one_class_is_the_row_of_the_cost() -> None:
    problem = random_problem(4)
    source_NK = torch.zeros_like(problem.source_NK)
    source_NK[:, 3] = 1
    single = TransportProblem(source_NK, problem.target_NM, problem.cost_KM)
    expected = problem.target_NM @ problem.cost_KM[3]
    for method in ("exact", "sinkhorn"):
        torch.testing.assert_close(solve(single, method).cost_N, expected)


def test_the_log_domain_takes_over_where_the_kernel_would_vanish() -> None:
    problem = random_problem(5, samples=4)
    spread = float(problem.cost_KM.max() - problem.cost_KM.min())
    # Range over epsilon is 2,000: exp(-2000) is zero in any precision.
    output = solve_sinkhorn(problem, epsilon=spread / 2000, tolerance=1e-4, max_iterations=20_000)
    assert torch.isfinite(output.cost_N).all()
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=1e-2, atol=1e-3 * spread)


def test_kernel_and_log_domain_find_the_same_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(6)
    epsilon = 0.05 * float(problem.cost_KM.median())
    kernel = solve_sinkhorn(problem, epsilon=epsilon, tolerance=1e-10)
    monkeypatch.setattr("rayxkd.transport.solvers.sinkhorn._KERNEL_RANGE", 0.0)
    log_domain = solve_sinkhorn(problem, epsilon=epsilon, tolerance=1e-10)
    assert kernel.converged
    assert log_domain.converged
    torch.testing.assert_close(kernel.cost_N, log_domain.cost_N, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(kernel.entropic_plan(0), log_domain.entropic_plan(0))


def test_entropic_plans_agree_with_pot() -> None:
    problem = random_problem(7, zeros=0.0)
    epsilon = 0.1 * float(problem.cost_KM.median())
    output = solve_sinkhorn(problem, epsilon=epsilon, tolerance=1e-12)
    for sample in range(problem.num_samples):
        expected = ot.sinkhorn(
            problem.source_NK[sample].numpy(),
            problem.target_NM[sample].numpy(),
            problem.cost_KM.numpy(),
            reg=epsilon,
            stopThr=1e-12,
            numItermax=100_000,
        )
        np.testing.assert_allclose(output.entropic_plan(sample), expected, atol=1e-9)


def test_what_has_not_converged_is_said() -> None:
    problem = random_problem(8)
    output = solve_sinkhorn(problem, tolerance=1e-9, max_iterations=11)
    assert not output.converged
    unfinished = ~output.converged_N
    assert (output.marginal_error_N[unfinished] > 1e-9).all()
    assert (output.cost_N >= emd_costs(problem) - 1e-9).all(), "still the cost of a real plan"


def test_samples_do_not_depend_on_their_neighbours() -> None:
    problem = random_problem(9, samples=8)
    together = solve(problem, "sinkhorn").cost_N
    alone = torch.cat([solve(problem.rows([i]), "sinkhorn").cost_N for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["closed_form", "exact", "sinkhorn"])
def test_the_transport_map_is_the_mean_plan(method: str) -> None:
    problem = with_one_hot_targets(random_problem(10))
    output = solve(problem, method)
    mean_KM = torch.stack([output.plan(i) for i in range(problem.num_samples)]).mean(dim=0)
    torch.testing.assert_close(output.transport_map(), mean_KM)


def test_rounding_keeps_a_plan_that_is_right_already() -> None:
    problem = random_problem(11, samples=1)
    plan_KM = solve_exact(problem).plan(0)
    rounded = round_to_marginals(plan_KM[None], problem.source_NK, problem.target_NM)[0]
    torch.testing.assert_close(rounded, plan_KM)


def test_float32_masses_are_accepted() -> None:
    problem = random_problem(12)
    single = TransportProblem(
        problem.source_NK.float(), problem.target_NM.float(), problem.cost_KM.float()
    )
    torch.testing.assert_close(
        solve(single, "exact").cost_N, emd_costs(problem), rtol=1e-5, atol=1e-7
    )


def test_bad_problems_are_refused() -> None:
    good = random_problem(13)
    p, q, cost = good.source_NK, good.target_NM, good.cost_KM
    with pytest.raises(ValueError, match="does not lie between"):
        TransportProblem(p, q, cost.T)
    with pytest.raises(ValueError, match="for 5 targets"):
        TransportProblem(p, q[:5], cost)
    with pytest.raises(ValueError, match="sum to one"):
        TransportProblem(p * 2, q, cost)
    with pytest.raises(ValueError, match="negative or undefined"):
        TransportProblem(p, q * torch.nan, cost)
    with pytest.raises(ValueError, match="not finite"):
        TransportProblem(p, q, cost / 0)
    with pytest.raises(ValueError, match="one-hot"):
        solve_closed_form(good)
    with pytest.raises(ValueError, match="positive"):
        solve_sinkhorn(good, epsilon=0.0)
    with pytest.raises(UserError, match="did you mean 'sinkhorn'"):
        solve(good, "sinkhron")
