"""Marginals that need not be met, and mass that need not be moved."""

from __future__ import annotations

import math
from dataclasses import replace

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.transport import CooccurrenceCost, Predictions, TransportProblem, solve
from tests.transport.conftest import (
    emd_costs,
    height,
    problems,
    random_problem,
    with_one_hot_targets,
)


def objective(problem: TransportProblem, plan_KM: torch.Tensor, sample: int) -> float:
    """The documented objective, written down plainly."""

    def divergence(a: torch.Tensor, b: torch.Tensor) -> float:
        terms = [
            x * math.log(x / y) - x + y if x > 0 else y
            for x, y in zip(a.tolist(), b.tolist(), strict=True)
        ]
        return math.fsum(terms)

    total = float((plan_KM * problem.cost_KM).sum())
    if math.isfinite(problem.source_penalty):
        row_K, p = plan_KM.sum(dim=1), problem.source_NK[sample]
        total += problem.source_penalty * divergence(row_K, p)
    if math.isfinite(problem.target_penalty):
        column_M, q = plan_KM.sum(dim=0), problem.target_NM[sample]
        total += problem.target_penalty * divergence(column_M, q)
    return total


@pytest.mark.parametrize(
    "penalties", [(0.5, math.inf), (math.inf, 0.5), (0.5, 0.5), (3.0, 0.2)], ids=str
)
@pytest.mark.parametrize("epsilon", [0.05, 0.0005])
def test_unbalanced_plans_agree_with_pot(penalties: tuple[float, float], epsilon: float) -> None:
    base = random_problem(40, samples=3, zeros=0.0)
    base = replace(base, cost_KM=base.cost_KM / height(base))
    problem = replace(base, source_penalty=penalties[0], target_penalty=penalties[1])
    output = solve(problem, "sinkhorn", epsilon=epsilon, tolerance=1e-9, max_iterations=200_000)
    assert output.converged
    for sample in range(3):
        plan_KM = output.plan(sample)
        assert float(output.cost_N[sample]) == pytest.approx(
            objective(problem, plan_KM, sample), rel=1e-6
        )
        if epsilon < 0.01:
            continue  # POT's plain iterations underflow there
        expected = ot.unbalanced.sinkhorn_unbalanced(
            problem.source_NK[sample].numpy(),
            problem.target_NM[sample].numpy(),
            problem.cost_KM.numpy(),
            reg=epsilon,
            reg_m=penalties,
            reg_type="kl",
            numItermax=100_000,
            stopThr=1e-12,
        )
        # A marginal that must be met is met exactly by ours, to its tolerance by POT's.
        torch.testing.assert_close(plan_KM, torch.from_numpy(expected), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@given(problems(), st.sampled_from([0.1, 1.0, 20.0]), st.sampled_from(["source", "target", "both"]))
@settings(max_examples=60, deadline=None)
def test_unbalanced_costs_are_certified(problem: TransportProblem, rho: float, side: str) -> None:
    scale = float(problem.cost_KM.abs().max())
    if scale > 1e3 or scale < 1e-3 or height(problem) == 0:
        problem = replace(problem, cost_KM=problem.cost_KM / (scale or 1.0))
    changes = {
        name: rho for name in ("source_penalty", "target_penalty") if side in (name[:6], "both")
    }
    relaxed = replace(problem, **changes)
    fine = solve(relaxed, "sinkhorn", epsilon=0.005 * (height(problem) or 1), tolerance=1e-6)
    coarse = solve(relaxed, "sinkhorn", epsilon=0.05 * (height(problem) or 1), tolerance=1e-6)
    rounding = 1e-7 * (1 + float(problem.cost_KM.abs().max()))
    assert torch.isfinite(fine.cost_N).all()
    for one in (fine, coarse):
        for other in (fine, coarse):
            assert (one.lower_bound_N <= other.cost_N + rounding).all()
    # What need not be met cannot cost more than what must.
    assert (fine.lower_bound_N <= emd_costs(problem) + rounding).all()


@pytest.mark.parametrize("rho", [0.01, 1.0, 100.0])
def test_one_hot_targets_with_a_source_penalty_have_a_closed_form(rho: float) -> None:
    problem = replace(with_one_hot_targets(random_problem(41)), source_penalty=rho)
    output = solve(problem)
    assert output.method == "closed_form"
    for sample in range(problem.num_samples):
        plan_KM = output.plan(sample)
        assert float(plan_KM.sum()) == pytest.approx(1.0)
        cost = float(output.cost_N[sample])
        assert cost == pytest.approx(objective(problem, plan_KM, sample), rel=1e-9)
        # It is the minimum: moving mass between two rows of the label's column costs more.
        label = int(problem.target_NM[sample].argmax())
        heavy, light = plan_KM[:, label].argsort(descending=True)[:2].tolist()
        for change in (1e-4, -1e-4):
            moved = plan_KM.clone()
            moved[heavy, label] -= change * moved[light, label]
            moved[light, label] += change * moved[light, label]
            assert objective(problem, moved, sample) > cost - 1e-12
    torch.testing.assert_close(
        output.transport_map(),
        torch.stack([output.plan(i) for i in range(problem.num_samples)]).mean(dim=0),
    )
    iterated = solve(problem, "sinkhorn", epsilon=1e-3 * min(rho, height(problem)), tolerance=1e-8)
    torch.testing.assert_close(iterated.cost_N, output.cost_N, rtol=1e-2, atol=1e-3)


def test_a_relaxed_source_at_cooccurrence_cost_is_leep(
    iris: tuple[Predictions, torch.Tensor],
) -> None:
    predictions, labels_N = iris
    cost_KM = CooccurrenceCost(shrinkage=0.0).fit(predictions, labels_N, 3).cost_KM
    target_NM = torch.nn.functional.one_hot(labels_N, 3).double()
    problem = TransportProblem(
        predictions.probabilities_NK(), target_NM, cost_KM, source_penalty=1.0
    )
    from rayxkd.metrics import metric_named

    leep = metric_named("leep").fit(predictions, labels_N, 3)
    assert float(solve(problem).cost) == pytest.approx(-leep, abs=1e-12)


@given(problems(), st.sampled_from([0.05, 0.5, 0.95]))
@settings(max_examples=60, deadline=None)
def test_partial_costs_agree_with_pot(problem: TransportProblem, mass: float) -> None:
    scale = float(problem.cost_KM.abs().max())
    cost_KM = problem.cost_KM - problem.cost_KM.min()  # POT's needs costs that are not negative
    partial = replace(problem, cost_KM=cost_KM, mass=mass)
    output = solve(partial, "exact")
    for sample in range(problem.num_samples):
        expected = ot.partial.partial_wasserstein2(
            problem.source_NK[sample].numpy(),
            problem.target_NM[sample].numpy(),
            cost_KM.numpy(),
            m=mass,
        )
        assert float(output.cost_N[sample]) == pytest.approx(expected, rel=1e-7, abs=1e-9 * scale)
        plan_KM = output.plan(sample)
        assert float(plan_KM.sum()) == pytest.approx(mass)
        assert (plan_KM.sum(dim=1) <= problem.source_NK[sample] + 1e-9).all()
        assert (plan_KM.sum(dim=0) <= problem.target_NM[sample] + 1e-9).all()
    assert (output.gap_N.abs() <= 1e-8 * scale).all()


def test_partial_costs_of_negative_ground_costs() -> None:
    problem = random_problem(42)
    shifted = replace(problem, cost_KM=problem.cost_KM - 2 * height(problem), mass=0.3)
    expected = solve(replace(problem, mass=0.3), "exact").cost_N - 0.3 * 2 * height(problem)
    torch.testing.assert_close(solve(shifted, "exact").cost_N, expected)


@pytest.mark.parametrize("method", ["sinkhorn", "truncated"])
def test_other_solvers_of_the_partial_problem(method: str) -> None:
    problem = random_problem(43, samples=5, teacher_classes=30, mass=0.6)
    exact_N = solve(problem, "exact").cost_N
    output = solve(problem, method, tolerance=1e-5)
    assert output.method == method
    assert output.converged
    scale = height(problem)
    assert (output.cost_N >= exact_N - 1e-9 * scale).all()
    torch.testing.assert_close(output.cost_N, exact_N, rtol=0.05, atol=0.01 * scale)
    assert (output.lower_bound_N <= exact_N + 1e-9 * scale).all()
    mean_KM = torch.stack([output.plan(i) for i in range(5)]).mean(dim=0)
    torch.testing.assert_close(output.transport_map(), mean_KM)


@pytest.mark.parametrize("mass", [0.2, 0.9])
def test_partial_transport_to_labels_has_a_closed_form(mass: float) -> None:
    problem = replace(with_one_hot_targets(random_problem(44)), mass=mass)
    output = solve(problem)
    assert output.method == "closed_form"
    torch.testing.assert_close(output.cost_N, solve(problem, "exact").cost_N)
    plan_KM = output.plan(0)
    assert float(plan_KM.sum()) == pytest.approx(mass)
    assert float((plan_KM * problem.cost_KM).sum()) == pytest.approx(float(output.cost_N[0]))


def test_irrelevant_mass_need_not_be_moved() -> None:
    """Half of a teacher's mass on a class far from the target: balanced pays, relaxed does not."""
    cost_KM = torch.tensor([[0.0, 1.0], [1.0, 0.0], [50.0, 50.0]], dtype=torch.float64)
    source_NK = torch.tensor([[0.5, 0.0, 0.5]], dtype=torch.float64)
    target_NM = torch.tensor([[0.8, 0.2]], dtype=torch.float64)
    problem = TransportProblem(source_NK, target_NM, cost_KM)
    assert float(solve(problem, "exact").cost) == pytest.approx(25.0 + 0.0)
    assert float(solve(replace(problem, mass=0.5), "exact").cost) == pytest.approx(0.0)
    relaxed = solve(replace(problem, source_penalty=1.0), "sinkhorn", epsilon=0.01)
    assert 0 < float(relaxed.cost) < 2
    assert float(relaxed.plan(0)[2].sum()) < 1e-6
