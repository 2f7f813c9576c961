"""Objectives: what a student learns beside the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rayxkd.distill.objectives.base import (
    Batch,
    Lesson,
    Objective,
    StudentSays,
    TeacherSays,
)
from rayxkd.distill.objectives.others import Probe, Relation, SortedLogits
from rayxkd.distill.objectives.plain import ConfidencePenalty, CrossEntropy, LabelSmoothing
from rayxkd.distill.objectives.transport import Transport, fit_cost
from rayxkd.distill.settings import DistillSettings
from rayxkd.errors import unknown_name
from rayxkd.transport.loss import UNLABELLED

__all__ = [
    "UNLABELLED",
    "Batch",
    "CrossEntropy",
    "Lesson",
    "Objective",
    "StudentSays",
    "TeacherSays",
    "fit_cost",
    "make_objective",
]

_Maker = Callable[[DistillSettings, Sequence[Lesson]], Objective]

_MAKERS: dict[str, _Maker] = {
    "label_smoothing": lambda _, __: LabelSmoothing(),
    "confidence_penalty": lambda _, __: ConfidencePenalty(),
    "transport": lambda settings, lessons: Transport(
        lessons, settings.transport, settings.training.seed
    ),
    "sorted_logits": lambda _, lessons: SortedLogits(lessons),
    "probe": lambda settings, lessons: Probe(lessons, settings.distil_temperature),
    "relation": lambda _, lessons: Relation(lessons),
}


def make_objective(name: str, settings: DistillSettings, lessons: Sequence[Lesson]) -> Objective:
    """The objective of that name; what it learns of the teachers is learnt now.

    Raises:
        UserError: an unknown name; ``cross_entropy`` is part of every loss and no name here.
    """
    if name not in _MAKERS:
        raise unknown_name("objective", name, _MAKERS)
    return _MAKERS[name](settings, lessons)
