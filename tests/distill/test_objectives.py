"""Every objective against its formula, written anew in NumPy or torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegressionCV
from torch import Tensor

from rayxkd.distill import DistillSettings, TransportSettings
from rayxkd.distill.objectives import (
    UNLABELLED,
    Batch,
    CrossEntropy,
    Lesson,
    Objective,
    StudentSays,
    TeacherSays,
    fit_cost,
    make_objective,
)
from rayxkd.distill.objectives.transport import Transport
from rayxkd.errors import UserError
from rayxkd.transport import Predictions

B, M, K, D, N = 8, 4, 6, 5, 60
TEACHERLESS = ("label_smoothing", "confidence_penalty")
OF_TEACHERS = ("transport", "sorted_logits", "probe", "relation")
LABELS = torch.tensor([0, 3, UNLABELLED, 1, UNLABELLED, 2, 2, UNLABELLED])
SETTINGS = DistillSettings()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def student(seed: int = 1, classes: int = M) -> StudentSays:
    return StudentSays(
        (2 * normal(B, classes, seed=seed)).requires_grad_(),
        normal(B, 7, seed=seed + 50).requires_grad_(),
    )


def teacher(seed: int = 2, *, features: bool = True) -> TeacherSays:
    return TeacherSays(
        3 * normal(B, K, seed=seed), normal(B, D, seed=seed + 50) if features else None
    )


def lesson(seed: int = 3, weight: float = 1.0, classes: int = M, features: bool = True) -> Lesson:
    """A teacher whose classes and features have to do with the labels."""
    labels = torch.arange(N) % classes
    logits = normal(N, K, seed=seed)
    logits[torch.arange(N), (labels + seed) % K] += 2
    shown = normal(N, D, seed=seed + 50)
    shown[torch.arange(N), labels % D] += 1.5
    # Features of different size and far from zero: what standardising is for.
    shown = shown * torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0]) + torch.arange(D)
    predictions = Predictions(logits, shown if features else None, None, None)
    return Lesson(f"teacher {seed}", weight, predictions, labels, classes)


def batch(*teachers: TeacherSays, labels: Tensor = LABELS) -> Batch:
    return Batch(labels, teachers)


def made(name: str, lessons: Sequence[Lesson] = (), **changes: Any) -> Objective:
    return make_objective(name, DistillSettings(**changes), lessons)


def array(values: Tensor) -> np.ndarray:
    return values.detach().double().numpy()


def assert_equal(found: Tensor, expected: float) -> None:
    assert found.ndim == 0
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


# Without a teacher


def test_cross_entropy_is_the_mean_over_images_with_a_label() -> None:
    says = student()
    log_q = log_softmax(array(says.logits_BM), axis=1)
    expected = np.mean([-log_q[row, label] for row, label in enumerate(LABELS) if label >= 0])
    assert_equal(CrossEntropy()(says, batch()), expected)


@pytest.mark.parametrize("name", ["cross_entropy", *TEACHERLESS])
def test_images_without_label_have_no_part(name: str) -> None:
    objective = CrossEntropy() if name == "cross_entropy" else made(name)
    says = student()
    loss = objective(says, batch())
    loss.backward()
    assert says.logits_BM.grad is not None
    moved = says.logits_BM.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == (LABELS != UNLABELLED).tolist()
    # Nothing but unlabelled images: nothing to learn, and no NaN.
    nothing = objective(says, batch(labels=torch.full((B,), UNLABELLED)))
    assert float(nothing.detach()) == 0


@pytest.mark.parametrize("weight", [0.1, 0.5, 2.0])
def test_label_smoothing_is_that_of_torch_up_to_its_factor(weight: float) -> None:
    says = student()
    mine = CrossEntropy()(says, batch()) + weight * made("label_smoothing")(says, batch())
    theirs = torch.nn.functional.cross_entropy(
        says.logits_BM, LABELS, ignore_index=UNLABELLED, label_smoothing=weight / (1 + weight)
    )
    assert_equal(mine, (1 + weight) * float(theirs.detach()))


def test_confidence_penalty_is_minus_the_entropy() -> None:
    says = student()
    q = softmax(array(says.logits_BM), axis=1)[(LABELS != UNLABELLED).numpy()]
    assert_equal(made("confidence_penalty")(says, batch()), (q * np.log(q)).sum(axis=1).mean())
    flat = StudentSays(torch.zeros(B, M), None)
    assert_equal(made("confidence_penalty")(flat, batch()), -np.log(M))


# Sorted logits


@pytest.mark.parametrize("classes", [2, 4, 6, 9])
def test_sorted_logits_for_fewer_and_more_classes(classes: int) -> None:
    says, word = student(classes=classes), teacher()
    q = -np.sort(-softmax(array(says.logits_BM), axis=1), axis=1)
    p = -np.sort(-softmax(array(word.logits_BK), axis=1), axis=1)
    distances = []
    for row in range(B):
        ranks = range(max(classes, K))
        pairs = [(q[row, r] if r < classes else 0.0, p[row, r] if r < K else 0.0) for r in ranks]
        distances.append(sum(abs(one - other) for one, other in pairs))
    assert_equal(made("sorted_logits", [lesson()])(says, batch(word)), np.mean(distances))


def test_sorted_logits_do_not_look_at_names() -> None:
    says, word = student(), teacher()
    turned = TeacherSays(word.logits_BK.flip(1), word.features_BD)
    objective = made("sorted_logits", [lesson()])
    assert_equal(objective(says, batch(word)), float(objective(says, batch(turned)).detach()))


# Relation


@pytest.mark.parametrize("features", [True, False])
def test_relation_compares_matrices_of_similarity(features: bool) -> None:
    says, word = student(), teacher(features=features)
    if not features:
        says = StudentSays(says.logits_BM, None)

    def similarity(rows: np.ndarray) -> np.ndarray:
        products = np.array([[one @ other for other in rows] for one in rows])
        return products / np.linalg.norm(products, axis=1, keepdims=True)

    mine = array(says.features_BD if says.features_BD is not None else says.logits_BM)
    theirs = array(word.features_BD if word.features_BD is not None else word.logits_BK)
    expected = np.linalg.norm(similarity(mine) - similarity(theirs), "fro") ** 2 / B**2
    assert_equal(made("relation", [lesson()])(says, batch(word)), expected)


# Probe


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("features", [True, False])
def test_the_probe_says_what_scikit_learn_says(classes: int, features: bool) -> None:
    known = lesson(classes=classes, features=features)
    inputs = known.predictions.embeddings_ND.double().numpy()
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0, ddof=1)
    model = LogisticRegressionCV(
        Cs=[1e-4, 1e-3, 1e-2, 0.1, 1, 10], cv=5, scoring="neg_log_loss", max_iter=500
    )
    model.fit((inputs - mean) / spread, known.labels_N.numpy())
    word = teacher(features=features)
    fresh = array(word.embeddings_BD)
    log_head = model.predict_log_proba((fresh - mean) / spread)
    assert log_head.std() > 0.1, "a head that says nothing shows nothing"

    objective = made("probe", [known])
    (head,) = objective.heads
    found = torch.log_softmax(head(word.embeddings_BD), dim=1)
    np.testing.assert_allclose(array(found), log_head, atol=2e-3)

    says = student(classes=classes)
    log_q = log_softmax(array(says.logits_BM), axis=1)
    expected = (np.exp(log_head) * (log_head - log_q)).sum(axis=1).mean()
    assert float(objective(says, batch(word)).detach()) == pytest.approx(expected, rel=2e-3)


def test_the_probe_at_another_temperature() -> None:
    objective = made("probe", [lesson()], distil_temperature=3.0)
    says, word = student(), teacher()
    head = array(objective.heads[0](word.embeddings_BD)) / 3
    log_p, log_q = log_softmax(head, axis=1), log_softmax(array(says.logits_BM) / 3, axis=1)
    expected = 9 * (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    assert_equal(objective(says, batch(word)), expected)


def test_a_probe_survives_features_that_never_change() -> None:
    known = lesson()
    shown = known.predictions.features_ND
    assert shown is not None
    shown[:, 0] = 7.0
    word = teacher()
    assert word.features_BD is not None
    word.features_BD[:, 0] = 7.0
    loss = made("probe", [known])(student(), batch(word))
    assert bool(torch.isfinite(loss))
    assert float(loss.detach()) < 100


# Transport


def mapped(word: TeacherSays, cost: Tensor, temperature: float, epsilon: float) -> np.ndarray:
    p = softmax(array(word.logits_BK) / temperature, axis=1)
    return softmax(-p @ array(cost) / epsilon, axis=1)


@pytest.mark.parametrize("cost", ["learned", "cooccurrence", "prototype"])
@pytest.mark.parametrize("epsilon", [1.0, 0.3])
def test_transport_forms_follow_their_formulas(cost: str, epsilon: float) -> None:
    known, says, word = lesson(), student(), teacher()
    fitted = fit_cost(known, TransportSettings(cost=cost))
    t = mapped(word, fitted.cost_KM, fitted.temperature, epsilon)
    log_q = log_softmax(array(says.logits_BM), axis=1)
    p = softmax(array(word.logits_BK) / fitted.temperature, axis=1)
    q = np.exp(log_q)
    expected = {
        "target": (t * (np.log(t) - log_q)).sum(axis=1).mean(),
        "expected": (q * (p @ array(fitted.cost_KM) + epsilon * log_q)).sum(axis=1).mean(),
    }
    for form, value in expected.items():
        wanted = TransportSettings(cost=cost, form=form, epsilon=epsilon)
        loss = made("transport", [known], transport=wanted)(says, batch(word))
        assert float(loss.detach()) == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_transport_from_features_moves_their_mass() -> None:
    known, says, word = lesson(), student(), teacher()
    fitted = fit_cost(known, TransportSettings(cost="features"))
    phi = array(known.predictions.embeddings_ND)
    spread = np.sqrt(np.mean((phi - phi.mean(axis=0)) ** 2))
    channels = (array(word.embeddings_BD) - phi.mean(axis=0)) / spread
    p = softmax(channels / fitted.temperature, axis=1)
    log_q = log_softmax(array(says.logits_BM), axis=1)
    expected = (np.exp(log_q) * (p @ array(fitted.cost_KM) + log_q)).sum(axis=1).mean()
    loss = made("transport", [known], transport=TransportSettings(cost="features"))
    assert float(loss(says, batch(word)).detach()) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("form", ["target", "expected"])
def test_transport_is_least_at_the_mapped_prediction(form: str) -> None:
    known, word = lesson(), teacher()
    settings = TransportSettings(cost="cooccurrence", form=form, epsilon=0.7)
    objective = made("transport", [known], transport=settings)
    fitted = fit_cost(known, settings)
    t = torch.from_numpy(mapped(word, fitted.cost_KM, fitted.temperature, 0.7))
    best = t.log().requires_grad_()
    least = objective(StudentSays(best, None), batch(word))
    least.backward()
    assert best.grad is not None
    assert float(best.grad.abs().max()) < 1e-6
    for seed in range(5):
        other = StudentSays(t.log() + 0.3 * normal(B, M, seed=seed), None)
        assert float(objective(other, batch(word))) > float(least.detach()) + 1e-4
    if form == "target":
        assert_equal(least, 0.0)


def test_an_entropic_transport_depends_on_both_sides_and_on_the_penalty() -> None:
    known, word = lesson(), teacher()
    says = student()
    values = []
    for penalty in (None, 10.0, 0.1):
        settings = TransportSettings(cost="cooccurrence", form="entropic", source_penalty=penalty)
        loss = made("transport", [known], transport=settings)(says, batch(word))
        values.append(float(loss.detach()))
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("cost", ["learned", "cooccurrence"])
def test_the_control_exchanges_rows_and_nothing_else(cost: str) -> None:
    known = lesson()
    plain = fit_cost(known, TransportSettings(cost=cost)).cost_KM.float()
    wanted = TransportSettings(cost=cost, permute_cost=True)
    objective = made("transport", [known], transport=wanted)
    permuted = objective.losses[0].cost_KM
    assert not torch.equal(permuted, plain)
    assert sorted(permuted.tolist()) == sorted(plain.tolist())
    assert not (permuted == plain).all(dim=1).any(), "no class keeps its row"
    again = made("transport", [known], transport=wanted)
    assert torch.equal(again.losses[0].cost_KM, permuted)
    says, word = student(), teacher()
    honest = made("transport", [known], transport=TransportSettings(cost=cost))
    assert float(objective(says, batch(word)).detach()) != pytest.approx(
        float(honest(says, batch(word)).detach()), rel=1e-3
    )


def test_the_control_exchanges_rows_of_two_classes_too() -> None:
    """A permutation that leaves everything in place controls nothing."""
    known = lesson()
    two = Lesson(
        "two",
        1.0,
        Predictions(known.predictions.logits_NK[:, :2].contiguous(), None, None, None),
        known.labels_N,
        M,
    )
    plain = fit_cost(two, TransportSettings()).cost_KM.float()
    for seed in range(6):
        control = Transport([two], TransportSettings(permute_cost=True), seed)
        assert torch.equal(control.losses[0].cost_KM, plain.flip(0))


def test_a_given_temperature_is_taken() -> None:
    wanted = TransportSettings(temperature=9.0)
    (loss,) = made("transport", [lesson()], transport=wanted).losses
    assert loss.temperature == 9.0


# All that ask teachers


@pytest.mark.parametrize("name", OF_TEACHERS)
def test_a_faculty_is_the_weighted_sum_of_its_teachers(name: str) -> None:
    first, second = lesson(3, 0.75), lesson(4, 0.25)
    says, words = student(), (teacher(2), teacher(7))
    together = made(name, [first, second])(says, batch(*words))
    alone = [
        float(made(name, [one])(says, batch(word)).detach())
        for one, word in zip([lesson(3), lesson(4)], words, strict=True)
    ]
    assert_equal(together, 0.75 * alone[0] + 0.25 * alone[1])
    assert alone[0] != pytest.approx(alone[1])


@pytest.mark.parametrize("name", OF_TEACHERS)
def test_a_word_of_every_teacher_is_needed(name: str) -> None:
    with pytest.raises(ValueError, match="zip"):
        made(name, [lesson(3, 0.5), lesson(4, 0.5)])(student(), batch(teacher()))


@pytest.mark.parametrize("name", [*TEACHERLESS, *OF_TEACHERS])
def test_gradients_reach_the_student_and_nobody_else(name: str) -> None:
    says, word = student(), teacher()
    objective = made(name, [lesson()])
    objective(says, batch(word)).backward()
    reached = says.features_BD if name == "relation" else says.logits_BM
    assert reached is not None
    assert reached.grad is not None
    assert bool(torch.isfinite(reached.grad).all())
    assert float(reached.grad.abs().sum()) > 1e-4
    assert [p for p in objective.parameters() if p.requires_grad] == []


@pytest.mark.parametrize("name", OF_TEACHERS)
def test_images_without_label_teach_where_a_teacher_speaks(name: str) -> None:
    says = student()
    made(name, [lesson()])(says, batch(teacher())).backward()
    reached = says.features_BD if name == "relation" else says.logits_BM
    assert reached is not None
    assert reached.grad is not None
    assert bool((reached.grad.abs().sum(dim=1) > 0).all())


@pytest.mark.parametrize("name", [*TEACHERLESS, *OF_TEACHERS])
def test_half_precision_is_computed_in_full(name: str) -> None:
    says, word = student(), teacher()
    assert says.features_BD is not None
    half = StudentSays(says.logits_BM.bfloat16(), says.features_BD.bfloat16())
    objective = made(name, [lesson()])
    loss = objective(half, batch(word))
    assert loss.dtype == torch.float32
    exact = objective(StudentSays(half.logits_BM.float(), half.features_BD.float()), batch(word))
    assert_equal(loss, float(exact.detach()))


def test_unknown_objectives_are_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'transport'"):
        made("transprot", [lesson()])
