"""What a study found, as tables."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Results:
    """The tables of a study.

    Attributes:
        teachers: a row a teacher, as ``TEACHERS``.
        scores: a row a teacher, task, seed and ranker, as ``SCORES``.
        truth: a row a teacher, task, kind and seed, as ``TRUTH``; students that no teacher taught
            have no teacher. For linear probes ``seed`` is a part of the test images.
    """

    teachers: pa.Table
    scores: pa.Table
    truth: pa.Table
