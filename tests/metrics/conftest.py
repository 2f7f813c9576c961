"""Real predictions to score: classical classifiers on scikit-learn's public data."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from rayxkd.transport.predictions import Predictions


class Sample(NamedTuple):
    predictions: Predictions
    labels: Tensor
    num_classes: int


def taught(features, source, target, images) -> Sample:
    """What a classifier of the `source` labels, trained on all data, says about some images."""
    teacher = LogisticRegression(max_iter=200, tol=1e-2).fit(features, source)
    predictions = Predictions(
        torch.tensor(teacher.decision_function(features[images])).float(),
        torch.tensor(features[images]).float(),
        torch.tensor(teacher.coef_).float(),
    )
    return Sample(predictions, torch.tensor(target[images]), int(target.max()) + 1)


@pytest.fixture(autouse=True, scope="module")
def single_thread():
    """Matrices this small are faster on one thread, ten times so beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def samples() -> dict[str, Sample]:
    iris, digits = load_iris(), load_digits()
    # A teacher of petal sizes is asked about species: N = 150 > D = 4, K = 4, M = 3.
    sizes = 2 * (iris.data[:, 2] > 4.5) + (iris.data[:, 3] > 1.2) + (iris.data[:, 2] > 1.5)
    # A teacher of digits is asked for their rest by four: K = 10, M = 4. Its 64 pixels hold some
    # that are always zero, so N = 40 < D and N = 300 > D, and both matrices lack full rank.
    pixels, rest = digits.data[:300] / 16, digits.target[:300] % 4
    return {
        "iris": taught(iris.data, sizes, iris.target, slice(None)),
        "digits, N < D": taught(pixels, digits.target[:300], rest, slice(40)),
        "digits, N > D": taught(pixels, digits.target[:300], rest, slice(None)),
    }


@pytest.fixture(params=["iris", "digits, N < D", "digits, N > D"])
def sample(request, samples) -> Sample:
    return samples[request.param]
