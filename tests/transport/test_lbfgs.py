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

    def objective(point_BX: Tensor) -> tuple[Tensor, Tensor]:
        point_BX = point_BX.detach().requires_grad_()
        score_NBM = torch.einsum("nr,brm->nbm", features, point_BX.view(-1, 5, 3))
        loss_NB = torch.logsumexp(score_NBM, 2) - score_NBM[torch.arange(60), :, labels]
        value_B = loss_NB.sum(dim=0) + ridge_B / 2 * point_BX.square().sum(dim=1)
        (gradient_BX,) = torch.autograd.grad(value_B.sum(), point_BX)
        return value_B.detach(), gradient_BX

    found = minimise_batch(objective, torch.zeros(3, 15).double(), tolerance=1e-9)
    for b, ridge in enumerate(ridge_B.tolist()):

        def single(flat: np.ndarray, b: int = b) -> tuple[float, np.ndarray]:
            point_BX = torch.zeros(3, 15).double()
            point_BX[b] = torch.from_numpy(flat)
            value_B, gradient_BX = objective(point_BX)
            return float(value_B[b]), gradient_BX[b].numpy()

        options = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 5000}
        best = minimize(single, np.zeros(15), jac=True, method="L-BFGS-B", options=options)
        np.testing.assert_allclose(found[b], best.x, atol=1e-5, err_msg=str(ridge))


def test_it_stops_at_the_bound_on_iterations() -> None:
    calls = 0

    def objective(point_BX: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        return point_BX.pow(4).sum(dim=1), 4 * point_BX.pow(3)

    minimise_batch(objective, torch.ones(2, 1).double(), tolerance=0.0, max_iterations=7)
    assert calls <= 8 * 3
