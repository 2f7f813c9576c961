"""Other ways to learn from a teacher with foreign classes, to compare transport with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, normalize, pad, softmax

from rayxkd.distill.objectives.base import FacultyObjective, Lesson, StudentSays, TeacherSays

_PROBE_STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 2))
_PROBE_FOLDS = 5


class SortedLogits(FacultyObjective):
    """Universal logit distillation: sorted probabilities are compared, whatever the classes mean.

    sum_r |p_(r) - q_(r)| over ranks r, the shorter side padded with zeros, mean over the images.
    Source: Boizard et al. 2024, https://arxiv.org/abs/2402.12030.
    """

    def term(self, _: int, student: StudentSays, teacher: TeacherSays) -> Tensor:
        """See :class:`FacultyObjective`."""
        q_BM = softmax(student.logits_BM.float(), dim=1).sort(dim=1, descending=True).values
        p_BK = softmax(teacher.logits_BK.float(), dim=1).sort(dim=1, descending=True).values
        width = max(q_BM.shape[1], p_BK.shape[1])
        q_BR, p_BR = (pad(part, (0, width - part.shape[1])) for part in (q_BM, p_BK))
        return (p_BR - q_BR).abs().sum(dim=1).mean()


class Probe(FacultyObjective):
    """Probe, then distil: a linear head on the teacher's features, then ordinary distillation.

    The head is a logistic regression fitted to the labelled images, its strength chosen by
    cross-validated likelihood. On all images T^2 KL(head | student) at temperature T (Hinton et al.
    2015, https://arxiv.org/abs/1503.02531).

    Args:
        lessons: one a teacher; the logits take the place of features where it shows none.
        temperature: T.
    """

    def __init__(self, lessons: Sequence[Lesson], temperature: float = 1.0) -> None:
        super().__init__(lessons)
        self.temperature = temperature
        self.heads = nn.ModuleList([_fitted_head(lesson) for lesson in lessons])

    def term(self, number: int, student: StudentSays, teacher: TeacherSays) -> Tensor:
        """See :class:`FacultyObjective`."""
        temperature = self.temperature
        target_BM = self.heads[number](teacher.embeddings_BD.float())
        return temperature**2 * kl_div(
            log_softmax(student.logits_BM.float() / temperature, dim=1),
            log_softmax(target_BM / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )


class Relation(FacultyObjective):
    """Similarity-preserving distillation: images that the teacher finds alike shall be alike.

    |S - T|^2 / B^2, where S and T are the matrices of inner products of student's and teacher's
    features within a batch, each row of unit length. Source: Tung and Mori 2019,
    https://arxiv.org/abs/1907.09682.
    """

    def term(self, _: int, student: StudentSays, teacher: TeacherSays) -> Tensor:
        """See :class:`FacultyObjective`."""
        known = student.features_BD
        features_BD = student.logits_BM if known is None else known
        difference_BB = _similarity(features_BD.float()) - _similarity(
            teacher.embeddings_BD.float()
        )
        return difference_BB.square().sum() / len(difference_BB) ** 2


def _similarity(features_BD: Tensor) -> Tensor:
    return normalize(features_BD @ features_BD.T, dim=1)


def _fitted_head(lesson: Lesson) -> nn.Linear:
    """Logistic regression on standardised features, as one linear layer without gradient."""
    from sklearn.linear_model import LogisticRegressionCV

    features_ND = lesson.predictions.embeddings_ND
    mean_D, spread_D = features_ND.mean(dim=0), features_ND.std(dim=0).clamp_min(1e-6)
    labels_N = lesson.labels_N.numpy()
    folds = min(_PROBE_FOLDS, int(np.bincount(labels_N).min()))
    model = LogisticRegressionCV(
        Cs=_PROBE_STRENGTHS, cv=max(2, folds), scoring="neg_log_loss", max_iter=500
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of its defaults, and slow convergence
        model.fit(((features_ND - mean_D) / spread_D).numpy(), labels_N)
    weight_MD, bias_M = _one_row_a_class(model.coef_, model.intercept_)
    weight_MD = weight_MD / spread_D
    head = nn.Linear(features_ND.shape[1], lesson.num_classes).requires_grad_(False)
    head.weight.copy_(weight_MD)
    head.bias.copy_(bias_M - weight_MD @ mean_D)
    return head


def _one_row_a_class(coefficients: object, intercepts: object) -> tuple[Tensor, Tensor]:
    """scikit-learn gives one row for two classes: the second's logit over the first's."""
    weight_MD, bias_M = torch.as_tensor(coefficients), torch.as_tensor(intercepts)
    if len(weight_MD) == 1:
        weight_MD = torch.cat([torch.zeros_like(weight_MD), weight_MD])
        bias_M = torch.cat([torch.zeros_like(bias_M), bias_M])
    return weight_MD, bias_M
