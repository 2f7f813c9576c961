"""Teachers: cards, repositories, safe loading, and the teacher that predicts."""

from __future__ import annotations

from rayxkd.teachers.card import Preprocessing, RejectedCard, TeacherCard
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders import load_teacher, teacher_digest
from rayxkd.teachers.preprocess import ProbePixels
from rayxkd.teachers.repository import Card, Repository
from rayxkd.teachers.sources import demo_repository, open_repositories, reopen
from rayxkd.teachers.store import PredictionStore, Said, ViewKey, predictions_of
from rayxkd.teachers.teacher import Forward, Teacher, as_predictions, predict

__all__ = [
    "Card",
    "Forward",
    "PredictionStore",
    "Preprocessing",
    "ProbePixels",
    "RejectedCard",
    "Repository",
    "Said",
    "Teacher",
    "TeacherCard",
    "TeacherError",
    "ViewKey",
    "as_predictions",
    "demo_repository",
    "load_teacher",
    "open_repositories",
    "predict",
    "predictions_of",
    "reopen",
    "teacher_digest",
]
