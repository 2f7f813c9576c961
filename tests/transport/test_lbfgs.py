from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from rayxkd.transport.lbfgs import minimise_batch


def test_each_problem_of_a_batch_reaches_its_own_minimum() -> None:
    """Logistic losses of very different stiffness, against scipy one at a time."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(60, 5)))
    labels = torch.from_numpy(rng.integers(3, size=60))
    ridge_B = torch.tensor([1e-3, 1.0, 100.0]).double()

    def objective(point: Tensor) -> tuple[Tensor, Tensor]:
        point = point.detach().requires_grad_()
        score = torch.einsum("nr,rbm->nbm", features, point)
        loss_B = (torch.logsumexp(score, 2) - score[torch.arange(60), :, labels]).sum(dim=0)
        value_B = loss_B + ridge_B / 2 * point.square().sum(dim=(0, 2))
        (gradient,) = torch.autograd.grad(value_B.sum(), point)
        return value_B.detach(), gradient

    found = minimise_batch(objective, torch.zeros(5, 3, 3).double(), tolerance=1e-9)
    for b, ridge in enumerate(ridge_B.tolist()):

        def single(flat: np.ndarray, b: int = b) -> tuple[float, np.ndarray]:
            point = torch.zeros(5, 3, 3).double()
            point[:, b] = torch.from_numpy(flat).view(5, 3)
            value_B, gradient = objective(point)
            return float(value_B[b]), gradient[:, b].flatten().numpy()

        options = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 5000}
        best = minimize(single, np.zeros(15), jac=True, method="L-BFGS-B", options=options)
        np.testing.assert_allclose(found[:, b].flatten(), best.x, atol=1e-5, err_msg=str(ridge))


def test_it_stops_at_the_bound_on_iterations() -> None:
    calls = 0

    def objective(point: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        return point.pow(4).sum(dim=(0, 2)), 4 * point.pow(3)

    minimise_batch(objective, torch.ones(2, 1, 1).double(), tolerance=0.0, max_iterations=7)
    assert calls <= 8 * 3
