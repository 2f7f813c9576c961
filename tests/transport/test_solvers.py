"""The front door, the closed form and the linear programme."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.errors import UserError
from rayxkd.transport import TransportProblem, solve, top_pairs
from rayxkd.transport.solvers import solve_closed_form, solve_exact
from tests.transport.conftest import (
    emd_costs,
    height,
    problems,
    random_problem,
    rounding,
    rows,
    with_one_hot_targets,
)

METHODS = ["exact", "truncated", "sinkhorn"]


@given(problems())
@settings(max_examples=100, deadline=None)
def test_the_closed_form_is_the_exact_cost(problem: TransportProblem) -> None:
    problem = with_one_hot_targets(problem)
    output = solve(problem)
    assert output.method == "closed_form"
    assert output.converged
    scale = float(problem.cost_KM.abs().max())
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=1e-12, atol=1e-12 * scale)
    torch.testing.assert_close(output.lower_bound_N, output.cost_N)


@given(problems())
@settings(max_examples=100, deadline=None)
def test_the_exact_solver_agrees_with_pot(problem: TransportProblem) -> None:
    output = solve(problem, "exact")
    assert output.converged
    atol = 1e-12 * height(problem)
    torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=1e-9, atol=atol)
    # The programme's own dual closes the gap: the cost is proved, not only computed.
    gap_N = output.gap_N
    assert (gap_N.abs() <= 1e-9 * float(problem.cost_KM.abs().max())).all()


@given(problems(), st.sampled_from([1e-3, 0.05, 0.4]))
@settings(max_examples=100, deadline=None)
def test_truncation_is_within_its_bound(problem: TransportProblem, truncation: float) -> None:
    output = solve_exact(problem, truncation)
    assert output.method == "truncated"
    excess_N, slack = output.cost_N - emd_costs(problem), rounding(problem)
    assert (excess_N >= -slack).all()
    assert (excess_N <= output.truncation_bound_N + slack).all()
    assert (output.truncation_bound_N <= truncation * height(problem) + slack).all()
    assert (output.lower_bound_N <= emd_costs(problem) + slack).all()
    assert (output.gap_N <= output.truncation_bound_N + slack).all()


def test_truncation_moves_only_the_lightest_classes_alike() -> None:
    problem = random_problem(20, samples=3, teacher_classes=30, zeros=0.0)
    output = solve_exact(problem, 0.1)
    for sample in range(3):
        p = problem.source_NK[sample]
        light = torch.zeros_like(p, dtype=torch.bool)
        order = p.argsort()
        light[order[p[order].cumsum(0) <= 0.1]] = True
        assert light.sum() > 1
        shares = output.plan(sample)[light] / p[light, None]
        torch.testing.assert_close(shares, shares[:1].expand_as(shares))


@given(problems())
@settings(max_examples=40, deadline=None)
def test_plans_meet_their_marginals_and_their_costs(problem: TransportProblem) -> None:
    for method in METHODS:
        output = solve(problem, method)
        for sample in range(problem.num_samples):
            plan_KM = output.plan(sample)
            assert (plan_KM >= 0).all()
            p, q = problem.source_NK[sample], problem.target_NM[sample]
            torch.testing.assert_close(plan_KM.sum(dim=1), p, rtol=0, atol=1e-9)
            torch.testing.assert_close(plan_KM.sum(dim=0), q, rtol=0, atol=1e-9)
            cost, scale = (plan_KM * problem.cost_KM).sum(), float(problem.cost_KM.abs().max())
            torch.testing.assert_close(output.cost_N[sample], cost, rtol=1e-7, atol=1e-9 * scale)


@pytest.mark.parametrize("method", METHODS)
def test_permuted_classes_cost_the_same(method: str) -> None:
    problem = random_problem(2)
    rng = np.random.default_rng(0)
    k, m = (torch.from_numpy(rng.permutation(size)) for size in problem.cost_KM.shape)
    permuted = TransportProblem(
        problem.source_NK[:, k], problem.target_NM[:, m], problem.cost_KM[k][:, m]
    )
    torch.testing.assert_close(
        solve(permuted, method).cost_N, solve(problem, method).cost_N, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("method", METHODS)
def test_moving_all_mass_of_one_class_is_the_row_of_the_cost(method: str) -> None:
    problem = random_problem(4)
    source_NK = torch.zeros_like(problem.source_NK)
    source_NK[:, 3] = 1
    single = replace(problem, source_NK=source_NK)
    torch.testing.assert_close(solve(single, method).cost_N, problem.target_NM @ problem.cost_KM[3])


@pytest.mark.parametrize("method", ["closed_form", *METHODS])
def test_the_transport_map_is_the_mean_plan(method: str) -> None:
    problem = random_problem(10, samples=9)
    if method == "closed_form":
        problem = with_one_hot_targets(problem)
    output = solve(problem, method)
    mean_KM = torch.stack([output.plan(i) for i in range(problem.num_samples)]).mean(dim=0)
    torch.testing.assert_close(output.transport_map(), mean_KM)
    assert float(output.cost) == pytest.approx(float((mean_KM * problem.cost_KM).sum()))


def test_top_pairs_are_named_and_sorted() -> None:
    map_KM = torch.tensor([[0.1, 0.0], [0.5, 0.4]])
    cost_KM = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    pairs = top_pairs(map_KM, cost_KM, ["tench", "daisy"], ["rose", "sunflower"], count=10)
    assert [(pair.source, pair.target, pair.cost) for pair in pairs] == [
        ("daisy", "rose", 3.0),
        ("daisy", "sunflower", 4.0),
        ("tench", "rose", 1.0),
    ]
    assert [pair.mass for pair in pairs] == pytest.approx([0.5, 0.4, 0.1])
    assert len(top_pairs(map_KM, cost_KM, ["a", "b"], ["c", "d"], count=1)) == 1
    with pytest.raises(ValueError, match="do not fit a map"):
        top_pairs(map_KM, cost_KM, ["a"], ["c", "d"])


def test_the_choice_follows_the_problem() -> None:
    wide = random_problem(30, samples=8, teacher_classes=200, zeros=0.0)
    assert solve(wide).method == "sinkhorn"
    assert solve(with_one_hot_targets(wide)).method == "closed_form"
    # Teachers that are sure: three classes hold nearly all the mass.
    sure_NK = torch.zeros_like(wide.source_NK) + 1e-7
    sure_NK[:, :3] += 0.33
    sure = replace(wide, source_NK=sure_NK / sure_NK.sum(dim=1, keepdim=True))
    output = solve(sure)
    assert output.method == "truncated"
    assert output.solved_by == {"truncated": 8}
    torch.testing.assert_close(output.cost_N, emd_costs(sure), rtol=1e-3, atol=0)
    assert solve(sure, epsilon=0.1).method == "sinkhorn"
    assert solve(sure, "exact").method == "exact"


def test_what_does_not_converge_is_solved_exactly() -> None:
    problem = random_problem(8, samples=20, teacher_classes=60)
    forced = solve(problem, "sinkhorn", tolerance=1e-9, max_iterations=200)
    rest_N = ~forced.converged_N
    assert 0 < int(rest_N.sum()) < 20
    output = solve(problem, tolerance=1e-9, max_iterations=200)
    assert output.converged
    assert output.method == "sinkhorn"
    assert output.solved_by == {"sinkhorn": 20 - int(rest_N.sum()), "exact": int(rest_N.sum())}
    torch.testing.assert_close(output.cost_N[rest_N], emd_costs(problem)[rest_N], rtol=1e-9, atol=0)
    assert torch.equal(output.cost_N[~rest_N], forced.cost_N[~rest_N])
    mean_KM = torch.stack([output.plan(i) for i in range(20)]).mean(dim=0)
    torch.testing.assert_close((mean_KM * problem.cost_KM).sum(), output.cost)
    assert (output.lower_bound_N <= emd_costs(problem) + 1e-9).all()


def test_samples_of_the_log_domain_that_are_solved_again_are_counted_once() -> None:
    problem = random_problem(5, samples=8)
    # Range over epsilon is 2,000: nothing but the log domain, and too few iterations for all.
    arguments = {"epsilon": height(problem) / 2000, "tolerance": 1e-9, "max_iterations": 20}
    left = int((~solve(problem, "sinkhorn", **arguments).converged_N).sum())
    assert left > 0
    expected = {"log_domain": 8 - left, "exact": left}
    assert solve(problem, **arguments).solved_by == {k: n for k, n in expected.items() if n}


def test_float32_masses_are_accepted() -> None:
    problem = random_problem(12)
    single = TransportProblem(
        problem.source_NK.float(), problem.target_NM.float(), problem.cost_KM.float()
    )
    for method in ("exact", "truncated"):
        output = solve(single, method)
        assert output.cost_N.dtype == torch.float64
        torch.testing.assert_close(output.cost_N, emd_costs(problem), rtol=1e-3, atol=1e-7)


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
    with pytest.raises(ValueError, match="penalties must be above zero"):
        TransportProblem(p, q, cost, source_penalty=0.0)
    with pytest.raises(ValueError, match="mass to move"):
        TransportProblem(p, q, cost, mass=1.5)
    with pytest.raises(ValueError, match="either a part"):
        TransportProblem(p, q, cost, source_penalty=1.0, mass=0.5)


def test_bad_requests_are_refused() -> None:
    problem = random_problem(13)
    with pytest.raises(ValueError, match="one-hot"):
        solve_closed_form(problem)
    with pytest.raises(ValueError, match="positive"):
        solve(problem, "sinkhorn", epsilon=0.0)
    with pytest.raises(ValueError, match="float32 or float64"):
        solve(problem, "sinkhorn", dtype=torch.float16)
    with pytest.raises(ValueError, match="at least one sample"):
        solve(problem, "sinkhorn", chunk=0)
    with pytest.raises(ValueError, match="share of the mass"):
        solve(problem, "truncated", truncation=1.0)
    with pytest.raises(ValueError, match="no linear programme"):
        solve(replace(problem, source_penalty=1.0), "exact")
    with pytest.raises(UserError, match="did you mean 'sinkhorn'"):
        solve(problem, "sinkhron")


def test_samples_do_not_depend_on_their_neighbours() -> None:
    problem = random_problem(9, samples=8)
    for method in METHODS:
        together = solve(problem, method).cost_N
        alone = torch.cat([solve(rows(problem, [i]), method).cost_N for i in range(8)])
        torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-9)
