"""Everything that claims to know which teacher is best: transport, published scores, trivial ones.

Legend: N probe images, U images without label, K teacher classes, M target classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rayxkd.metrics import METRICS
from rayxkd.study.said import Interviewed
from rayxkd.transport import (
    CrossFittedCost,
    LearnedCost,
    Predictions,
    ground_cost,
    score_transport,
    stratified_folds,
)
from rayxkd.transport.costs.base import one_hot_NM

_FOLDS = 5


@dataclass(frozen=True)
class Question:
    """One teacher, one task, one draw of its probe set.

    Attributes:
        teacher: who it is.
        predictions: its output on the N images of the probe set.
        labels_N: their labels, int64.
        class_names: the M classes of the task.
        seed: of folds and controls.
        unlabelled: its output on U images whose labels nobody looks at.
        student_UM: probabilities on these of a student that was trained on the probe set alone.
    """

    teacher: Interviewed
    predictions: Predictions
    labels_N: Tensor
    class_names: tuple[str, ...]
    seed: int
    unlabelled: Predictions
    student_UM: Tensor

    @property
    def num_classes(self) -> int:
        """M."""
        return len(self.class_names)

    @cached_property
    def fold_N(self) -> Tensor:
        """Folds of the probe set, as a scan deals them."""
        return stratified_folds(self.labels_N, _FOLDS, self.seed)

    @cached_property
    def shuffled(self) -> Question:
        """The same with labels that say nothing: a control."""
        order_N = torch.randperm(len(self.labels_N), generator=self.generator())
        return replace(self, labels_N=self.labels_N[order_N])

    def generator(self) -> torch.Generator:
        """Of random choices; the same for every teacher."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Ranker:
    """A score by which teachers are ranked.

    Attributes:
        score: of one question.
        higher_is_better: whether a greater score means a better teacher.
        group: transport, control, published, trivial or trained.
        meaning: in a few words.
    """

    score: Callable[[Question], float]
    higher_is_better: bool
    group: str
    meaning: str


def transport_cost(
    question: Question,
    cost: str = "learned",
    temperature: float | None = None,
    *,
    relative: bool = False,
    permuted: bool = False,
) -> float:
    """The score of a scan: mean cost of moving predictions to labels, cross-fitted.

    Args:
        question: teacher and probe set.
        cost: name of the ground cost.
        temperature: of the teacher's softmax; by default the cost's own choice.
        relative: over the cost of random pairing.
        permuted: exchange the rows of the cost at random, which makes it a control.
    """
    fitted = ground_cost(cost, temperature).cross_fit(
        question.predictions, question.labels_N, question.num_classes, question.fold_N
    )
    if permuted:
        # Every fold's rows change places in the same way.
        costs = [cost.with_rows_permuted(question.generator()) for cost in fitted.costs]
        fitted = replace(fitted, costs=tuple(costs))
    reference_NM = one_hot_NM(question.labels_N, question.num_classes)
    score = score_transport(question.predictions, reference_NM, fitted)
    return score.relative_cost if relative else score.cost


def student_cost(question: Question, cost: str) -> float:
    """Mean cost of moving predictions on images without label to a student's.

    The cost is fitted on the probe set, which these images are no part of, and the student is the
    same for all teachers.
    """
    fitted = ground_cost(cost).fit(question.predictions, question.labels_N, question.num_classes)
    alone = CrossFittedCost(torch.zeros(len(question.student_UM), dtype=torch.int64), (fitted,))
    return score_transport(question.unlabelled, question.student_UM, alone).cost


def _class_overlap(question: Question) -> float:
    """Share of the task's classes that the teacher has by name."""
    known = {name.lower() for name in question.teacher.class_names}
    return sum(name.lower() in known for name in question.class_names) / question.num_classes


def _random(question: Question) -> float:
    """A number that depends on nothing but the teacher's digest and the seed."""
    seed = int(question.teacher.digest[:15], 16) ^ question.seed
    return float(torch.rand((), generator=torch.Generator().manual_seed(seed)))


def _transport() -> dict[str, Ranker]:
    def ranker(meaning: str, group: str = "transport", **how: object) -> Ranker:
        return Ranker(lambda question: transport_cost(question, **how), False, group, meaning)  # type: ignore[arg-type]

    return {
        "learned": ranker("transport from predictions to the labels: the default"),
        "features": ranker("the same from features", cost="features"),
        "learned, relative": ranker("the same over the cost of random pairing", relative=True),
        "learned, temperature 1": ranker("the same at one temperature", temperature=1.0),
        "learned, temperature 8": ranker("the same at one temperature", temperature=8.0),
        "cooccurrence": ranker("transport to the labels at -log P(m | k)", cost="cooccurrence"),
        "prototype": ranker("transport to the labels between prototypes", cost="prototype"),
        "prototype, relative": ranker(
            "the same over the cost of random pairing", cost="prototype", relative=True
        ),
        "features, rows permuted": ranker(
            "control: the cost's rows exchanged", "control", cost="features", permuted=True
        ),
        "cooccurrence, to a student": Ranker(
            lambda question: student_cost(question, "cooccurrence"),
            False,
            "transport",
            "transport to a student's predictions on images without label",
        ),
        "learned, rows permuted": ranker(
            "control: the cost's rows exchanged", "control", permuted=True
        ),
        "learned, labels shuffled": Ranker(
            lambda question: transport_cost(question.shuffled),
            False,
            "control",
            "control: labels that say nothing",
        ),
    }


def _published() -> dict[str, Ranker]:
    def score_by(name: str) -> Callable[[Question], float]:
        return lambda question: METRICS[name]().fit(
            question.predictions, question.labels_N, question.num_classes
        )

    trained = {"linear_probe"}
    return {
        name: Ranker(
            score_by(name),
            metric.higher_is_better,
            "trained" if name in trained else "published",
            metric.title,
        )
        for name, metric in METRICS.items()
    }


def _trivial() -> dict[str, Ranker]:
    def ranker(score: Callable[[Question], float], meaning: str) -> Ranker:
        return Ranker(score, True, "trivial", meaning)

    return {
        "random": ranker(_random, "a random number"),
        "own accuracy": ranker(
            lambda question: question.teacher.own_accuracy or 0.0,
            "the teacher's accuracy on its own classes",
        ),
        "parameters": ranker(
            lambda question: question.teacher.parameters, "how many numbers the teacher has"
        ),
        "classes": ranker(
            lambda question: question.predictions.num_classes, "how many classes it has"
        ),
        "class overlap": ranker(_class_overlap, "share of the task's classes that it has by name"),
    }


def rankers() -> Mapping[str, Ranker]:
    """All rankers by name; what needs the truth of other tasks is added by the analysis."""
    return {**_transport(), **_published(), **_trivial()}


DEFAULT_RANKER = LearnedCost.name
