"""What a distillation leaves behind: the student, its card and what was measured on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from rayxkd.distill.card import Score, StudentReport, TeacherUse, student_card_md
from rayxkd.distill.curves import learning_curves_png, write_tensorboard
from rayxkd.distill.export import write_student
from rayxkd.distill.faculty import ChosenTeacher
from rayxkd.distill.loop import Training
from rayxkd.distill.prepare import Prepared
from rayxkd.distill.settings import DistillSettings
from rayxkd.distill.teacher_pass import PassReport
from rayxkd.errors import UserError
from rayxkd.leaderboard import parquet_of
from rayxkd.secrets import without_secrets
from rayxkd.storage import Storage

_METRICS_FILE = "metrics.parquet"
_CURVES_FILE = "curves.png"
_CARD_FILE = "README.md"


@dataclass(frozen=True)
class DistillReport:
    """What a distillation did.

    Attributes:
        url: the student's directory.
        teachers: whom it learnt from.
        passed: what the teachers' pass did.
        test: its accuracy on the test set, if there is one.
        compared: that of the same student trained on labels alone, if asked for.
        metrics: one row an epoch.
        epochs: how many were trained now; an earlier run may have trained others.
        seconds: that this took.
    """

    url: str
    teachers: tuple[ChosenTeacher, ...]
    passed: PassReport
    test: Score | None
    compared: Score | None
    metrics: pa.Table
    epochs: int
    seconds: float


def write_outcome(
    settings: DistillSettings,
    prepared: Prepared,
    training: Training,
    report: DistillReport,
    storage: Storage,
) -> None:
    """Metrics, pictures and card, then the student itself.

    Raises:
        UserError: it cannot be written.
    """
    licence = _licence(prepared.teachers)
    try:
        storage.write(_METRICS_FILE, parquet_of(report.metrics))
        storage.write(_CURVES_FILE, learning_curves_png(report.metrics))
        write_tensorboard(storage, report.metrics)
        card = _card(settings, prepared, training, report, licence)
        storage.write(_CARD_FILE, student_card_md(card).encode())
        write_student(
            storage,
            training.network,
            prepared.spec,
            prepared.material.class_names,
            license=licence,
            onnx=settings.onnx,
        )
    except OSError as error:
        raise UserError(
            f"the student cannot be written to {storage.url}: {error}; "
            "its training is kept: run the same again"
        ) from error


def _licence(teachers: Sequence[ChosenTeacher]) -> str | None:
    """That of the teachers, where they have the same."""
    licences = {teacher.card.license for teacher in teachers}
    return licences.pop() if len(licences) == 1 else None


def _card(
    settings: DistillSettings,
    prepared: Prepared,
    training: Training,
    report: DistillReport,
    licence: str | None,
) -> StudentReport:
    data = {"labelled": settings.data, "unlabelled": settings.unlabelled, "test": settings.test}
    objective = " + ".join(
        ["cross-entropy"]
        + [
            f"{weight:g} {name.replace('_', ' ')}"
            for name, weight in zip(settings.objective, settings.weights, strict=True)
            if name != "cross_entropy"
        ]
    )
    return StudentReport(
        title=f"{prepared.spec.architecture} for {len(prepared.material.class_names)} classes",
        spec=prepared.spec,
        parameters=sum(p.numel() for p in training.network.parameters()),
        label_names=prepared.material.class_names,
        license=licence,
        teachers=[
            TeacherUse(
                teacher.card.teacher,
                teacher.weight,
                teacher.card.license,
                teacher.card.num_classes,
            )
            for teacher in prepared.teachers
        ],
        data={name: without_secrets(address) for name, address in data.items() if address},
        objective=objective,
        settings=_flat(settings.recorded()),
        scores=[report.test] if report.test else [],
        compared_with=[report.compared] if report.compared else [],
        finished=datetime.now(UTC).date(),
        onnx=settings.onnx,
        pictures=[_CURVES_FILE],
    )


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def metrics_of(history: Sequence[dict[str, float]]) -> pa.Table:
    """One row an epoch; what was not measured in some of them is null there."""
    names = dict.fromkeys(name for row in history for name in row)
    return pa.table({name: pa.array([row.get(name) for row in history]) for name in names})
