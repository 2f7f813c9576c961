"""Random transport problems with everything that makes them awkward."""

from __future__ import annotations

import numpy as np
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
    samples: int = 6,
    teacher_classes: int = 12,
    target_classes: int = 5,
    zeros: float = 0.3,
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
    )


@st.composite
def problems(draw: st.DrawFn) -> TransportProblem:
    """Problems of many shapes, K < M, K = M and K > M, K = 2 and M = 2 among them."""
    return random_problem(
        draw(st.integers(0, 2**32 - 1)),
        samples=draw(st.integers(1, 4)),
        teacher_classes=draw(st.sampled_from([2, 3, 7, 20])),
        target_classes=draw(st.sampled_from([2, 4, 9])),
        zeros=draw(st.sampled_from([0.0, 0.4, 0.9])),
    )


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
