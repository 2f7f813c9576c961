"""What a scan keeps to explain its ranks."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rayxkd.assess.evidence import Judged, evidence_of, shown_images
from rayxkd.assess.scan import ScanReport
from rayxkd.leaderboard import Assessment, Leaderboard
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.leaderboard.explain import explain
from rayxkd.storage import Storage
from rayxkd.transport import (
    CooccurrenceCost,
    FeatureCost,
    GroundCost,
    LearnedCost,
    Predictions,
    score_transport,
    stratified_folds,
)
from tests.leaderboard.builders import assessment

Scan = Callable[..., ScanReport]
ROW: Assessment = assessment("zoo/a", 1.0)


def predictions_of(
    images: int, classes: int, targets: int, seed: int
) -> tuple[Predictions, torch.Tensor]:
    """Logits that lean towards the label's place, and labels of which every class has some."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(images) % targets
    logits_NK = torch.randn(images, classes, generator=generator)
    logits_NK[torch.arange(images), labels_N % classes] += 2
    features_ND = torch.randn(images, 5, generator=generator)
    return Predictions(logits_NK, features_ND), labels_N


def judged_of(
    cost: GroundCost, predictions: Predictions, labels_N: torch.Tensor, student: bool = False
) -> Judged:
    targets = int(labels_N.max()) + 1
    fold_N = stratified_folds(labels_N, 3)
    fitted = cost.cross_fit(predictions, labels_N, targets, fold_N)
    reference_NM = torch.nn.functional.one_hot(labels_N, targets).double()
    if student:
        reference_NM = 0.8 * reference_NM + 0.2 / targets
    return Judged(
        predictions, fitted, score_transport(predictions, reference_NM, fitted, keep_map=student)
    )


@given(
    classes=st.integers(2, 70),
    targets=st.integers(2, 6),
    seed=st.integers(0, 99),
    student=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_the_map_holds_all_mass(classes: int, targets: int, seed: int, student: bool) -> None:
    predictions, labels_N = predictions_of(24, classes, targets, seed)
    judged = judged_of(CooccurrenceCost(), predictions, labels_N, student)

    found = evidence_of(ROW, judged, labels_N, torch.tensor([0, 3]))

    expected_M = torch.bincount(labels_N) / len(labels_N)
    if student:
        expected_M = 0.8 * expected_M + 0.2 / targets
    np.testing.assert_allclose(found.target_mass_M, expected_M, atol=1e-5)
    assert len(set(found.source_S.tolist())) == len(found.source_S) <= 48
    if classes <= 48:
        np.testing.assert_allclose(found.rest_M, 0, atol=1e-6)
        if not student:  # what each class gives is what the teacher says of all images
            given_S = predictions.probabilities_NK().mean(dim=0)[found.source_S.tolist()]
            np.testing.assert_allclose(found.map_SM.sum(axis=1), given_S, atol=1e-6)


@pytest.mark.parametrize("cost", [LearnedCost(), CooccurrenceCost()])
def test_entries_are_those_of_a_plain_loop(cost: GroundCost) -> None:
    predictions, labels_N = predictions_of(20, 6, 3, seed=1)
    judged = judged_of(cost, predictions, labels_N)

    found = evidence_of(ROW, judged, labels_N, torch.tensor([2]))

    share_NK = predictions.probabilities_NK()
    for row, k in enumerate(found.source_S):
        for m in range(3):
            mass = sum(share_NK[i, k] for i in range(20) if labels_N[i] == m) / 20
            assert found.map_SM[row, m] == pytest.approx(float(mass), rel=1e-5)
            costs = [float(fitted.cost_KM[k, m]) for fitted in judged.ground_cost.costs]
            assert found.cost_SM[row, m] == pytest.approx(np.mean(costs), rel=1e-5)
    for i in range(20):
        fitted = judged.ground_cost.costs[judged.ground_cost.fold_N[i]]
        mass_K = predictions.probabilities_NK(fitted.temperature)[i]
        assert found.nearest_N[i] == int((mass_K @ fitted.cost_KM).argmin())
    np.testing.assert_allclose(found.image_cost_N, judged.score.cost_N, rtol=1e-6)


def test_predictions_are_told_of_the_worst_and_of_the_shown() -> None:
    predictions, labels_N = predictions_of(30, 6, 3, seed=2)
    judged = judged_of(CooccurrenceCost(), predictions, labels_N)

    found = evidence_of(ROW, judged, labels_N, torch.tensor([4, 5]))

    worst = judged.score.cost_N.topk(12).indices.tolist()
    assert set(found.pictured_P.tolist()) == {4, 5, *worst}
    number = found.pictured_P.tolist().index(4)
    share_K = predictions.probabilities_NK()[4]
    assert found.top_names[number][0] == f"class {int(share_K.argmax())}"
    assert found.top_shares[number] == pytest.approx(share_K.topk(3).values.tolist())


def test_a_cost_of_features_has_channels_for_classes() -> None:
    predictions, labels_N = predictions_of(20, 6, 3, seed=3)
    judged = judged_of(FeatureCost(), predictions, labels_N)

    found = evidence_of(ROW, judged, labels_N, torch.tensor([0]))

    assert set(found.source_names) == {f"channel {place}" for place in range(5)}
    np.testing.assert_allclose(found.target_mass_M, torch.bincount(labels_N) / 20, atol=1e-6)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=60))
def test_shown_images_are_spread_over_the_classes(counts: list[int]) -> None:
    labels_N = np.repeat(np.arange(len(counts)), counts)

    shown_P = shown_images(labels_N)

    assert len(set(shown_P.tolist())) == len(shown_P) == min(24, len(labels_N))
    shown_M = np.bincount(labels_N[shown_P], minlength=len(counts))
    # A class has less than another only if it has no more to give, or by the one that was left.
    assert all(
        one >= min(count, shown_M.max() - 1) for one, count in zip(shown_M, counts, strict=True)
    )


def test_a_scan_keeps_it_of_every_teacher(scan: Scan, tmp_path: Path) -> None:
    scan()

    board = Leaderboard.open(str(tmp_path / "board"))
    store = EvidenceStore(Storage.at(board.url))
    found = store.read(board.table.to_pylist())
    assert found.keys() == set(board.table["teacher"].to_pylist())
    for row in board.table.to_pylist():
        mean = found[row["teacher"]].image_cost_N.mean()
        assert mean == pytest.approx(row["transport_cost"], rel=1e-5)
    probe = store.read_pictures()
    assert probe is not None
    sizes = {Image.open(io.BytesIO(content or b"")).size for content in probe.pictures}
    assert len(probe.pictures) == 100
    assert max(max(size) for size in sizes) <= 112
    best = explain(board, "best")
    assert best.row["teacher"] == "zoo/ten_digits"
    # It knows the task's classes by their names: each is carried by itself.
    assert all(one.pairs[0].source == one.name for one in best.classes)


def test_without_evidence_the_table_is_the_same(scan: Scan, tmp_path: Path) -> None:
    bare = scan(out=str(tmp_path / "bare"), no_evidence=True).leaderboard.table
    full = scan().leaderboard.table

    times = [name for name in bare.column_names if name.endswith(("_seconds", "_at"))]
    assert bare.drop_columns(times).equals(full.drop_columns(times))
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == [
        "leaderboard.parquet",
        "parts",
        "scan.json",
        "schema.parquet",
    ]
    scan(fresh=True, no_evidence=True)
    assert not (tmp_path / "board" / "evidence").exists()
    assert not (tmp_path / "board" / "probe.parquet").exists()


def test_a_row_is_not_lost_where_evidence_cannot_be_written(scan: Scan, tmp_path: Path) -> None:
    scan()
    for file in (tmp_path / "board" / "evidence").iterdir():
        file.unlink()
    (tmp_path / "board" / "evidence").rmdir()
    (tmp_path / "board" / "evidence").write_text("in the way")
    for file in (tmp_path / "board" / "parts").iterdir():
        file.unlink()

    report = scan()

    assert report.statuses == {"ok": 4}
