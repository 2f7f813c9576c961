"""Sketched costs against the transport room's own, and sketches against plain means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rayxkd.sketches import costs
from rayxkd.sketches.costs import SHARPNESS, Sketches, sketched_costs_T
from rayxkd.sketches.sketch import MOST_PROTOTYPES, Sketch, make_sketch
from rayxkd.sketches.target import Target, make_target
from rayxkd.transport import CooccurrenceCost, Predictions


def unit_rows(count: int, seed: int, dimensions: int = 6) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).normal(size=(count, dimensions))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sketch_of(classes: int, seed: int) -> Sketch:
    logits_RK = torch.from_numpy(3 * np.random.default_rng(seed).normal(size=(80, classes)))
    return make_sketch(Predictions(logits_RK), unit_rows(80, 1))


def one_a_image(places_ND: NDArray[np.float64], labels_N: NDArray[np.int64]) -> Target:
    """Every image its own prototype."""
    count = len(labels_N)
    return Target(places_ND.astype(np.float32), labels_N, np.ones(count), int(labels_N.max()) + 1)


def test_the_cost_is_that_of_the_transport_room() -> None:
    places_ND, labels_N = unit_rows(40, 2), np.arange(40) % 3
    sketches = [sketch_of(classes, seed) for seed, classes in enumerate((2, 5, 9))]
    found_T = sketched_costs_T(Sketches.of(sketches), one_a_image(places_ND, labels_N))
    for sketch, found in zip(sketches, found_T, strict=True):
        logits_NK = SHARPNESS * places_ND @ sketch.prototypes_PD.T.astype(float)
        predictions = Predictions(torch.from_numpy(logits_NK + np.log(sketch.mass_P)))
        fitted = CooccurrenceCost().fit(predictions, torch.from_numpy(labels_N), 3)
        p_NK = predictions.probabilities_NK(1.0).double()
        expected = (p_NK @ fitted.cost_KM.double())[torch.arange(40), torch.from_numpy(labels_N)]
        assert found == pytest.approx(float(expected.mean()), rel=1e-5)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sketches = Sketches.of([sketch_of(2 + seed % 7, seed) for seed in range(30)])
    target = one_a_image(unit_rows(20, 3), np.arange(20) % 4)
    whole_T = sketched_costs_T(sketches, target)
    for size in (1, 10, 37):
        monkeypatch.setattr(costs, "_CHUNK", size)
        np.testing.assert_allclose(sketched_costs_T(sketches, target), whole_T, rtol=1e-5)


def test_the_teacher_that_tells_the_classes_apart_costs_least() -> None:
    places_RD, labels_R = unit_rows(200, 4), np.arange(200) % 2
    places_RD[:, 0] = np.where(labels_R == 0, 3.0, -3.0)
    places_RD /= np.linalg.norm(places_RD, axis=1, keepdims=True)
    right = torch.nn.functional.one_hot(torch.from_numpy(labels_R), 2).double()
    others = torch.nn.functional.one_hot(torch.from_numpy(np.arange(200) // 2 % 2), 2).double()
    sketches = [make_sketch(Predictions(6 * one), places_RD) for one in (right, others)]
    target = make_target(places_RD[:60], labels_R[:60], 2)
    knows, knows_not = sketched_costs_T(Sketches.of(sketches), target)
    assert knows < 0.1
    assert knows_not == pytest.approx(np.log(2), abs=0.1)  # guessing


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        target = one_a_image(unit_rows(6, 3), np.arange(6) % 2)
        sketched_costs_T(Sketches.of([sketch_of(3, 0)]), target)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_sketch_is_means_weighted_by_probabilities() -> None:
    logits_RK = torch.from_numpy(np.random.default_rng(5).normal(size=(50, 4)))
    places_RD = unit_rows(50, 6)
    sketch = make_sketch(Predictions(logits_RK), places_RD)
    p_RK = torch.softmax(logits_RK, dim=1).numpy()
    for k in range(4):
        expected_D = np.average(places_RD, axis=0, weights=p_RK[:, k])
        np.testing.assert_allclose(sketch.prototypes_PD[k], expected_D, atol=1e-3)
    np.testing.assert_allclose(sketch.mass_P, p_RK.mean(axis=0), rtol=1e-5)
    assert sketch.confidence == pytest.approx(p_RK.max(axis=1).mean())
    assert 0 < sketch.information < np.log(4)
    assert sketch.classes_P.tolist() == [0, 1, 2, 3]


def test_classes_beyond_the_most_are_one() -> None:
    logits_RK = torch.from_numpy(2 * np.random.default_rng(7).normal(size=(60, 700)))
    places_RD = unit_rows(60, 8)
    sketch = make_sketch(Predictions(logits_RK), places_RD)
    assert len(sketch.mass_P) == len(sketch.prototypes_PD) == MOST_PROTOTYPES
    assert sketch.mass_P.sum() == pytest.approx(1.0, abs=1e-5)
    mass_K = torch.softmax(logits_RK, dim=1).mean(dim=0).numpy()
    kept = set(np.argsort(-mass_K)[: MOST_PROTOTYPES - 1].tolist())
    assert set(sketch.classes_P.tolist()) == {*kept, -1}
    assert sketch.mass_P[-1] == pytest.approx(1 - mass_K[list(kept)].sum(), rel=1e-4)
    # All classes together are the mean place, whatever was put together.
    mean_D = sketch.mass_P @ sketch.prototypes_PD
    np.testing.assert_allclose(mean_D, places_RD.mean(axis=0), atol=1e-3)


def test_exactly_the_most_classes_keep_all() -> None:
    logits_RK = torch.from_numpy(np.random.default_rng(9).normal(size=(20, MOST_PROTOTYPES)))
    sketch = make_sketch(Predictions(logits_RK), unit_rows(20, 8))
    assert sketch.classes_P.tolist() == list(range(MOST_PROTOTYPES))


def test_a_target_has_two_prototypes_a_class() -> None:
    places_ND = unit_rows(30, 10)
    labels_N = np.array([0] * 14 + [1] * 15 + [3])
    target = make_target(places_ND, labels_N, 4)
    assert target.label_J.tolist() == [0, 0, 1, 1, 3]
    assert target.images_J.sum() == 30
    np.testing.assert_allclose(np.linalg.norm(target.prototypes_JD, axis=1), 1, atol=1e-6)
    again = make_target(places_ND, labels_N, 4)
    np.testing.assert_array_equal(target.prototypes_JD, again.prototypes_JD)


def test_images_that_are_all_the_same_are_one_prototype() -> None:
    place_D = unit_rows(1, 11)
    target = make_target(np.repeat(place_D, 8, axis=0), np.arange(8) % 2, 2)
    assert target.label_J.tolist() == [0, 1]
    assert target.images_J.tolist() == [4, 4]
