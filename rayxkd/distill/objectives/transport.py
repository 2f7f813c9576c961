"""The objective of the project: optimal transport from the teacher's classes to the task's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rayxkd.distill.objectives.base import FacultyObjective, Lesson, StudentSays, TeacherSays
from rayxkd.distill.settings import TransportSettings
from rayxkd.transport import FeatureScale, FittedCost, TransportLoss, ground_cost


class Transport(FacultyObjective):
    """:class:`TransportLoss` at a ground cost fitted to the labelled images; on all images.

    Args:
        lessons: one a teacher.
        settings: of the loss.
        seed: of the permutation, where the cost's rows are exchanged.
    """

    def __init__(
        self, lessons: Sequence[Lesson], settings: TransportSettings, seed: int = 0
    ) -> None:
        super().__init__(lessons)
        losses = []
        self._scales: list[FeatureScale | None] = []
        for lesson in lessons:
            fitted = fit_cost(lesson, settings)
            if settings.permute_cost:
                fitted = fitted.with_rows_permuted(torch.Generator().manual_seed(seed))
            self._scales.append(fitted.features)
            losses.append(
                TransportLoss(
                    fitted.cost_KM.float(),
                    form=settings.form,
                    epsilon=settings.epsilon,
                    temperature=fitted.temperature,
                    source_penalty=settings.source_penalty_or_inf,
                )
            )
        self.losses = nn.ModuleList(losses)

    def term(self, number: int, student: StudentSays, teacher: TeacherSays) -> Tensor:
        """See :class:`FacultyObjective`."""
        scale = self._scales[number]
        source = teacher.logits_BK if scale is None else scale.logits_ND(teacher.embeddings_BD)
        loss: Tensor = self.losses[number](student.logits_BM, source)
        return loss


def fit_cost(lesson: Lesson, settings: TransportSettings) -> FittedCost:
    """The ground cost from a teacher's classes to the task's, fitted to the labelled images."""
    cost = ground_cost(settings.cost, settings.temperature)
    return cost.fit(lesson.predictions, lesson.labels_N, lesson.num_classes)
