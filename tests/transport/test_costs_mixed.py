"""Several costs in one."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

from rayxkd.errors import UserError
from rayxkd.transport import (
    CooccurrenceCost,
    GroundCost,
    LearnedCost,
    Predictions,
    PrototypeCost,
    ground_cost,
    stratified_folds,
)
from rayxkd.transport.costs import CallableCost, FittedCost, MatrixCost, MixedCost

RNG = np.random.default_rng(3)
MATRIX = RNG.normal(size=(3, 3)) * 5 + 2


def spread_of(cost: np.ndarray) -> float:
    """The spread of the rows, in plain loops."""
    total = 0.0
    for row in cost:
        for entry in row:
            total += (entry - sum(row) / len(row)) ** 2
    return float(np.sqrt(total / cost.size))


def headless(predictions: Predictions) -> Predictions:
    """A teacher whose prototypes are soft centroids, so that they depend on the temperature."""
    return Predictions(predictions.logits_NK, predictions.features_ND)


def test_a_mix_is_the_weighted_sum_at_one_spread(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = headless(iris[0]), iris[1]
    # The parts' own temperatures do not count.
    parts = (CooccurrenceCost(temperature=9.0), PrototypeCost(), MatrixCost(MATRIX))
    fitted = MixedCost(parts, (0.5, 0.2, 0.3), temperature=2.0).fit(predictions, labels_N, 3)
    alone = [
        CooccurrenceCost(2.0).fit(predictions, labels_N, 3).cost_KM.numpy(),
        PrototypeCost(2.0).fit(predictions, labels_N, 3).cost_KM.numpy(),
        MATRIX,
    ]
    for k in range(3):
        for m in range(3):
            expected = sum(
                weight * cost[k, m] / spread_of(cost)
                for weight, cost in zip((0.5, 0.2, 0.3), alone, strict=True)
            )
            assert fitted.cost_KM[k, m] == pytest.approx(expected, abs=1e-12)
    assert fitted.temperature == 2.0
    assert not fitted.normalised


@pytest.mark.parametrize(
    "cost",
    [
        *(ground_cost(name) for name in ("learned", "cooccurrence", "prototype")),
        MatrixCost(MATRIX),
        CallableCost(lambda *_: MATRIX),
        MixedCost([PrototypeCost()], [1.0]),
        MixedCost([LearnedCost(), MatrixCost(MATRIX)], [0.5, 0.5]),
        LearnedCost(towards=PrototypeCost()),
    ],
    ids=lambda cost: cost.name,
)
def test_every_cost_takes_a_temperature(cost: GroundCost, iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N, 2)
    changed = cost.at_temperature(7.0)
    fitted = [changed.fit(predictions, labels_N, 3)]
    fitted += changed.cross_fit(predictions, labels_N, 3, fold_N).costs
    assert [one.temperature for one in fitted] == [7.0] * 3


def test_a_cost_without_temperature_stays_as_it_is(iris: tuple[Predictions, Tensor]) -> None:
    class Own(GroundCost):
        name, unit = "own", "metres"

        def fit(self, *_: object) -> FittedCost:
            return FittedCost(torch.from_numpy(MATRIX))

    own = Own()
    assert own.at_temperature(3.0) is own
    fitted = MixedCost([own], [1.0], temperature=3.0).fit(*iris, 3)
    assert fitted.temperature == 3.0


def test_a_mix_cross_fits_each_part_in_its_own_way(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    mixed = MixedCost((LearnedCost(), PrototypeCost()), (0.75, 0.25), 4.0)
    learned = LearnedCost(temperatures=(4.0,)).cross_fit(predictions, labels_N, 3, fold_N)
    prototype = PrototypeCost(4.0).cross_fit(predictions, labels_N, 3, fold_N)
    found = mixed.cross_fit(predictions, labels_N, 3, fold_N)
    for one, a, b in zip(found.costs, learned.costs, prototype.costs, strict=True):
        expected = 0.75 * a.cost_KM / spread_of(a.cost_KM.numpy())
        expected += 0.25 * b.cost_KM / spread_of(b.cost_KM.numpy())
        torch.testing.assert_close(one.cost_KM, expected)


def test_scale_and_row_constants_of_a_part_do_not_change_plans(
    iris: tuple[Predictions, Tensor],
) -> None:
    predictions, labels_N = iris
    other = 1000 * MATRIX + RNG.normal(size=(3, 1)) * 1e4
    costs = [
        MixedCost((CooccurrenceCost(), MatrixCost(matrix)), (0.4, 0.6)).fit(
            predictions, labels_N, 3
        )
        for matrix in (MATRIX, other)
    ]
    some = predictions.rows(torch.arange(0, 150, 10))
    target_NM = torch.from_numpy(RNG.dirichlet(np.ones(3), size=15))
    plans = [
        [
            ot.emd(p.numpy(), q.numpy(), cost.cost_KM.numpy())
            for p, q in zip(cost.source_NK(some), target_NM, strict=True)
        ]
        for cost in costs
    ]
    np.testing.assert_allclose(plans[0], plans[1], rtol=0, atol=1e-9)


def test_a_part_without_spread_stays_unscaled(iris: tuple[Predictions, Tensor]) -> None:
    # Rows of 0.1 have a mean that differs from 0.1 by rounding.
    flat = MatrixCost(np.tile([[0.1], [0.7], [-3.3]], 3))
    found = MixedCost((flat, MatrixCost(MATRIX)), (0.5, 0.5)).fit(*iris, 3).cost_KM
    expected = 0.5 * np.tile([[0.1], [0.7], [-3.3]], 3) + 0.5 * MATRIX / spread_of(MATRIX)
    torch.testing.assert_close(found, torch.from_numpy(expected))


def test_a_mix_does_not_see_its_own_fold(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    changed_N = torch.where(fold_N == 0, (labels_N + 1) % 3, labels_N)
    mixed = MixedCost((CooccurrenceCost(), PrototypeCost()), (0.5, 0.5))
    before, after = (
        mixed.cross_fit(predictions, y, 3, fold_N).costs for y in (labels_N, changed_N)
    )
    torch.testing.assert_close(before[0].cost_KM, after[0].cost_KM)
    assert not torch.allclose(before[1].cost_KM, after[1].cost_KM, atol=1e-3)


def test_permuted_teacher_classes_permute_the_rows(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    order = torch.tensor([2, 0, 1])
    assert predictions.head_KD is not None
    permuted = Predictions(
        predictions.logits_NK[:, order], predictions.features_ND, predictions.head_KD[order]
    )
    mixed = MixedCost((CooccurrenceCost(), PrototypeCost()), (0.5, 0.5))
    cost_KM = mixed.fit(predictions, labels_N, 3).cost_KM
    torch.testing.assert_close(mixed.fit(permuted, labels_N, 3).cost_KM, cost_KM[order])


@pytest.mark.parametrize(
    ("parts", "weights", "words"),
    [
        ((), (), "needs one weight a part"),
        ((PrototypeCost(),), (0.5, 0.5), "2 weights for 1 parts"),
        ((PrototypeCost(), CooccurrenceCost()), (1.5, -0.5), "not be negative"),
        ((PrototypeCost(), CooccurrenceCost()), (float("nan"), 1.0), "not be negative"),
        ((PrototypeCost(), CooccurrenceCost()), (2.0, 1.0), "sum to one, not 3: divide"),
        ((PrototypeCost(),), (float("inf"),), "sum to one"),
    ],
)
def test_weights_must_be_convex(parts: tuple, weights: tuple, words: str) -> None:
    with pytest.raises(UserError) as error:
        MixedCost(parts, weights)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
