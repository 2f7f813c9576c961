"""Costs that come from outside: class names, a matrix, a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rayxkd.errors import UserError
from rayxkd.transport import Predictions, stratified_folds
from rayxkd.transport.costs import CallableCost, GroundCost, MatrixCost, SemanticCost

VECTORS = {
    "crane": [1.0, 0.5, 0.0],
    "heron": [2.0, 1.0, 0.1],
    "lorry": [-1.0, 0.2, 3.0],
    "nothing": [0.0, 0.0, 0.0],
    "bird": [1.0, 0.7, -0.1],
    "vehicle": [-0.5, 0.1, 2.0],
}
TARGETS = ("bird", "vehicle")


def teacher(names: tuple[str, ...] | None, images: int = 6) -> Predictions:
    rng = np.random.default_rng(0)
    classes = 5 if names is None else len(names)
    return Predictions(torch.from_numpy(rng.normal(size=(images, classes))), class_names=names)


LABELS_N = torch.tensor([0, 1, 0, 1, 0, 1])


def encode(names: Sequence[str]) -> np.ndarray:
    return np.array([VECTORS[name] for name in names], dtype=np.float32)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# Class names.


@pytest.mark.parametrize("encoder", [VECTORS, encode])
def test_semantic_is_one_minus_the_cosine_of_names(encoder: Any) -> None:
    names = ("heron", "lorry", "crane", "crane", "nothing")  # a name may come twice
    fitted = SemanticCost(TARGETS, encoder, temperature=3.0).fit(teacher(names), LABELS_N, 2)
    for k, name in enumerate(names):
        for m, target in enumerate(TARGETS):
            a, b = np.array(VECTORS[name]), np.array(VECTORS[target])
            lengths = np.sqrt((a**2).sum() * (b**2).sum())
            cosine = (a * b).sum() / lengths if lengths > 0 else 0.0
            assert fitted.cost_KM[k, m] == pytest.approx(1 - cosine, abs=1e-7)
    assert fitted.cost_KM.dtype == torch.float64
    assert fitted.temperature == 3.0
    assert not fitted.normalised


def test_semantic_takes_the_vectors_of_tensors() -> None:
    names = ("heron", "lorry")
    tensors = {name: torch.tensor(vector).bfloat16() for name, vector in VECTORS.items()}
    torch.testing.assert_close(
        SemanticCost(TARGETS, tensors).fit(teacher(names), LABELS_N, 2).cost_KM,
        SemanticCost(TARGETS, VECTORS).fit(teacher(names), LABELS_N, 2).cost_KM,
        rtol=0,
        atol=0.01,
    )


def test_semantic_prefers_the_names_it_is_given() -> None:
    given = SemanticCost(TARGETS, VECTORS, source_names=("lorry", "heron"))
    own = SemanticCost(TARGETS, VECTORS)
    assert torch.equal(
        given.fit(teacher(("crane", "crane")), LABELS_N, 2).cost_KM,
        own.fit(teacher(("lorry", "heron")), LABELS_N, 2).cost_KM,
    )


def test_semantic_is_one_cost_for_all_folds_and_asks_the_encoder_once() -> None:
    calls = []

    def counted(names: Sequence[str]) -> np.ndarray:
        calls.append(list(names))
        return encode(names)

    predictions = teacher(("heron", "lorry", "crane"))
    fold_N = stratified_folds(LABELS_N, 3)
    cost = SemanticCost(TARGETS, counted)
    fitted = cost.cross_fit(predictions, LABELS_N, 2, fold_N)
    assert calls == [["heron", "lorry", "crane"], ["bird", "vehicle"]]
    assert len(fitted.costs) == 3
    other = cost.fit(predictions.rows(fold_N == 0), 1 - LABELS_N[fold_N == 0], 2)
    assert all(torch.equal(fold.cost_KM, other.cost_KM) for fold in fitted.costs)


@pytest.mark.parametrize(
    ("cost", "names", "words"),
    [
        (SemanticCost(TARGETS, VECTORS), None, "needs the teacher's class names"),
        (SemanticCost(("bird",), VECTORS), ("crane",), "1 target class names for 2"),
        (SemanticCost(TARGETS, VECTORS, ("crane",)), None, "1 teacher class names for 5"),
        (
            SemanticCost(TARGETS, VECTORS),
            ("crane", "stork", "auk", "emu", "jay"),
            "no vector for 4 of 5 teacher class names ('stork', 'auk', 'emu', ...)",
        ),
        (
            SemanticCost(("bird", "cart"), VECTORS),
            ("crane",),
            "no vector for 1 of 2 target class names ('cart')",
        ),
        (
            SemanticCost(TARGETS, {**VECTORS, "crane": [1.0, 2.0]}),
            ("crane",),
            "have 2 dimensions, those of the target's 3",
        ),
        (
            SemanticCost(TARGETS, {**VECTORS, "crane": [1.0, 2.0]}),
            ("crane", "heron"),
            "rows of one length",
        ),
        (SemanticCost(TARGETS, lambda names: encode(names)[1:]), ("crane", "heron"), "1 vectors"),
        (SemanticCost(TARGETS, lambda names: encode(names) / 0), ("crane",), "must be finite"),
        (SemanticCost(TARGETS, lambda names: encode(names)[0]), ("crane",), "two dimensions"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_semantic_says_what_is_wrong(
    cost: SemanticCost, names: tuple[str, ...] | None, words: str
) -> None:
    with pytest.raises(UserError) as error:
        cost.fit(teacher(names), LABELS_N, 2)
    assert words in one_line(error)


# A matrix.


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, -2], [3, 4], [0, 5]],
        np.array([[1, -2], [3, 4], [0, 5]], dtype=np.int8),
        np.array([[1, -2], [3, 4], [0, 5]], dtype=np.float16),
        torch.tensor([[1, -2], [3, 4], [0, 5]]),
        torch.tensor([[1.0, -2.0], [3, 4], [0, 5]], dtype=torch.bfloat16, requires_grad=True),
    ],
)
def test_a_matrix_is_taken_as_it_is(matrix: Any) -> None:
    fitted = MatrixCost(matrix, temperature=2.0).fit(teacher(("a", "b", "c")), LABELS_N, 2)
    expected = torch.tensor([[1.0, -2.0], [3, 4], [0, 5]], dtype=torch.float64)
    assert torch.equal(fitted.cost_KM, expected)
    assert not fitted.cost_KM.requires_grad
    assert fitted.temperature == 2.0


@pytest.mark.parametrize("like", [np.asarray, torch.from_numpy])
def test_a_matrix_that_changes_later_changes_no_cost(like: Any) -> None:
    array = np.ones((3, 2))
    cost = MatrixCost(like(array))
    array[0, 0] = 7.0
    assert float(cost.fit(teacher(("a", "b", "c")), LABELS_N, 2).cost_KM.max()) == 1.0


def test_a_matrix_is_the_same_in_every_fold() -> None:
    matrix = np.arange(10.0).reshape(5, 2)
    fold_N = stratified_folds(LABELS_N, 2)
    fitted = MatrixCost(matrix).cross_fit(teacher(None), LABELS_N, 2, fold_N)
    assert torch.equal(fitted.fold_N, fold_N)
    assert [cost.cost_KM.tolist() for cost in fitted.costs] == [matrix.tolist()] * 2


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.zeros(5), "two dimensions, not the shape (5,)"),
        (np.array([[0, np.nan], [np.inf, 1]]), "2 of 4 entries are NaN or inf"),
        (np.zeros((5, 2), dtype=complex), "real numbers, not complex128"),
        (torch.zeros(5, 2, dtype=torch.complex64), "real numbers, not complex64"),
        ([[1, 2], [3]], "rows of one length"),
        (np.array([["a", "b"]]), "real numbers"),
    ],
)
def test_no_matrix(matrix: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        MatrixCost(matrix)
    assert words in one_line(error)


def test_a_matrix_of_another_shape() -> None:
    with pytest.raises(UserError) as error:
        MatrixCost(np.zeros((4, 2))).fit(teacher(None), LABELS_N, 2)
    assert "(4, 2)" in one_line(error)
    assert "(5, 2)" in one_line(error)
    assert "transpose" not in one_line(error)
    with pytest.raises(UserError, match="transpose it"):
        MatrixCost(np.zeros((2, 5))).fit(teacher(None), LABELS_N, 2)


# A function.


def class_means(predictions: Predictions, labels_N: Tensor, num_classes: int) -> np.ndarray:
    """Minus the mean logit of every teacher class on every target class, in plain loops."""
    logits, labels = predictions.logits_NK.numpy(), labels_N.numpy()
    return np.array(
        [
            [-np.mean([row[k] for row, y in zip(logits, labels, strict=True) if y == m])]
            for k in range(logits.shape[1])
            for m in range(num_classes)
        ]
    ).reshape(-1, num_classes)


def test_a_function_sees_the_images_outside_each_fold(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    fitted = CallableCost(class_means, 4.0).cross_fit(predictions, labels_N, 3, fold_N)
    for fold, cost in enumerate(fitted.costs):
        rows = fold_N != fold
        expected = class_means(predictions.rows(rows), labels_N[rows], 3)
        assert cost.cost_KM.tolist() == expected.tolist()
        assert cost.temperature == 4.0


def test_a_function_does_not_see_its_own_fold(iris: tuple[Predictions, Tensor]) -> None:
    predictions, labels_N = iris
    fold_N = stratified_folds(labels_N)
    changed_N = torch.where(fold_N == 0, (labels_N + 1) % 3, labels_N)
    before, after = (
        CallableCost(class_means).cross_fit(predictions, y, 3, fold_N).costs
        for y in (labels_N, changed_N)
    )
    assert torch.equal(before[0].cost_KM, after[0].cost_KM)
    assert not torch.allclose(before[1].cost_KM, after[1].cost_KM, atol=1e-3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.zeros((2, 5)), "transpose it"),
        (np.zeros((5, 3)), "has the shape (5, 3)"),
        (np.full((5, 2), np.nan), "10 of 10 entries are NaN or inf"),
        (None, "real numbers"),
    ],
)
def test_a_function_that_answers_with_no_cost(answer: Any, words: str) -> None:
    def my_cost(predictions: Predictions, labels_N: Tensor, num_classes: int) -> Any:
        return answer

    with pytest.raises(UserError) as error:
        CallableCost(my_cost).fit(teacher(None), LABELS_N, 2)
    assert words in one_line(error)
    assert "my_cost" in one_line(error)


def test_what_a_function_raises_is_passed_on() -> None:
    def broken(predictions: Predictions, labels_N: Tensor, num_classes: int) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        CallableCost(broken).fit(teacher(None), LABELS_N, 2)


# All of them.


@pytest.mark.parametrize(
    "cost",
    [SemanticCost(TARGETS, VECTORS), CallableCost(class_means)],
    ids=lambda cost: cost.name,
)
def test_permuted_teacher_classes_permute_the_rows(cost: GroundCost) -> None:
    predictions = teacher(("heron", "lorry", "crane", "nothing"))
    assert predictions.class_names is not None
    order = [2, 0, 3, 1]
    permuted = Predictions(
        predictions.logits_NK[:, order],
        class_names=tuple(predictions.class_names[k] for k in order),
    )
    cost_KM = cost.fit(predictions, LABELS_N, 2).cost_KM
    assert not torch.allclose(cost_KM, cost_KM[order], atol=1e-3)
    torch.testing.assert_close(cost.fit(permuted, LABELS_N, 2).cost_KM, cost_KM[order])


def test_class_names_stay_with_the_rows_and_fit_the_classes() -> None:
    names = ("heron", "lorry", "crane")
    assert teacher(names).rows(LABELS_N == 1).class_names == names
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        Predictions(torch.zeros(4, 3), class_names=("heron", "lorry"))
