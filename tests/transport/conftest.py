"""Random transport problems with everything that makes them awkward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from rayxkd.transport import Predictions, TransportProblem


def random_masses(rng: np.random.Generator, rows: int, columns: int, zeros: float) -> Tensor:
    """Rows that sum to one, with about a share ``zeros`` of exact zeros."""
    mass = rng.gamma(0.5, size=(rows, columns))
    mass[rng.random((rows, columns)) < zeros] = 0.0
    # A row keeps at least one class.
    mass[np.arange(rows), rng.integers(columns, size=rows)] += 0.1
    return torch.from_numpy(mass / mass.sum(axis=1, keepdims=True))


def random_problem(
    seed: int,
    *,
    samples: int = 6,
    teacher_classes: int = 12,
    target_classes: int = 5,
    zeros: float = 0.3,
    mass: float = 1.0,
) -> TransportProblem:
    """N problems with one cost of random scale; zeros in both marginals."""
    rng = np.random.default_rng(seed)
    cost_KM = torch.from_numpy(
        rng.random((teacher_classes, target_classes)) * 10 ** rng.uniform(-2, 2)
    )
    return TransportProblem(
        random_masses(rng, samples, teacher_classes, zeros),
        random_masses(rng, samples, target_classes, zeros),
        cost_KM,
        mass=mass,
    )


@st.composite
def problems(draw: st.DrawFn) -> TransportProblem:
    """Problems of many shapes, K < M, K = M and K > M, K = 2 and M = 2 among them.

    Some have one class with all the mass, duplicate rows and columns of the cost, a constant cost,
    or costs that are huge, tiny or negative.
    """
    problem = random_problem(
        draw(st.integers(0, 2**32 - 1)),
        samples=draw(st.integers(1, 4)),
        teacher_classes=draw(st.sampled_from([2, 3, 7, 20])),
        target_classes=draw(st.sampled_from([2, 4, 9])),
        zeros=draw(st.sampled_from([0.0, 0.4, 0.9])),
    )
    source_NK, target_NM, cost_KM = problem.source_NK, problem.target_NM, problem.cost_KM
    if draw(st.booleans()):
        source_NK = source_NK.clone()
        source_NK[0] = torch.nn.functional.one_hot(torch.tensor(1), source_NK.shape[1])
    kind = draw(st.sampled_from(["plain", "plain", "equal rows", "constant", "negative"]))
    if kind == "equal rows":
        cost_KM = cost_KM.clone()
        cost_KM[1], cost_KM[:, 1] = cost_KM[0], cost_KM[:, 0]
    elif kind == "constant":
        cost_KM = torch.full_like(cost_KM, 0.7)
    elif kind == "negative":
        cost_KM = cost_KM - cost_KM.max()
    scale = draw(st.sampled_from([1.0, 1.0, 1e-9, 1e9]))
    return TransportProblem(source_NK, target_NM, cost_KM * scale)


def emd_costs(problem: TransportProblem) -> Tensor:
    """The exact costs, by POT, one sample at a time.

    POT's tolerances are absolute: it is given costs from 0 to 1, whatever the problem's are.
    """
    least, spread = float(problem.cost_KM.min()), height(problem) or 1.0
    cost_KM = ((problem.cost_KM - least) / spread).numpy()
    samples = zip(problem.source_NK.numpy(), problem.target_NM.numpy(), strict=True)
    costs = torch.tensor([ot.emd2(p, q, cost_KM) for p, q in samples], dtype=torch.float64)
    return costs * spread + least


def with_one_hot_targets(problem: TransportProblem) -> TransportProblem:
    labels_N = problem.target_NM.argmax(dim=1)
    target_NM = torch.nn.functional.one_hot(labels_N, problem.target_NM.shape[1]).double()
    return replace(problem, target_NM=target_NM)


def rows(problem: TransportProblem, index: Tensor | slice | list[int]) -> TransportProblem:
    """Some of the samples."""
    return replace(problem, source_NK=problem.source_NK[index], target_NM=problem.target_NM[index])


def height(problem: TransportProblem) -> float:
    """The range of the cost: the scale on which costs are compared."""
    return float(problem.cost_KM.max() - problem.cost_KM.min())


def rounding(problem: TransportProblem) -> float:
    """What float64 may lose in a cost of this problem."""
    return 1e-12 * float(problem.cost_KM.abs().max()) + 1e-9 * height(problem)


@pytest.fixture(scope="session")
def iris() -> tuple[Predictions, Tensor]:
    """A real teacher with two classes (wide petals or not) on real data with three (iris)."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, labels = load_iris(return_X_y=True)
    wide = (features[:, 3] > 0.8).astype(int) + (features[:, 0] > 6)
    teacher = LogisticRegression(max_iter=1000).fit(features, wide)
    head_KD = torch.from_numpy(teacher.coef_)
    logits_NK = torch.from_numpy(teacher.decision_function(features))
    return Predictions(logits_NK, torch.from_numpy(features), head_KD), torch.from_numpy(labels)
