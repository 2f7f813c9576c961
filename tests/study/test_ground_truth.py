"""The ground truth of the README's study, kept as a table: accuracies by teacher, task and seed.

Rebuild it: ``uv run python tests/benchmarks/study.py --data ../shared/data --keep
tests/study/ground_truth.csv`` (under two hours on two cores).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rayxkd.study.reliability import ceiling, reliability
from tests.benchmarks.study import CHOSEN_ON, STUDENTS_ON, targets

SEEDS = 3


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_name("ground_truth.csv"), index_col="teacher")


def test_it_is_whole(truth: pd.DataFrame) -> None:
    assert len(truth) == 36
    assert not truth.isna().any(axis=None)
    assert ((truth > 0) & (truth < 1)).all(axis=None)
    probes = {f"{target.name}/linear_probe" for target in targets()}
    students = {f"{task}/student/{seed}" for task in STUDENTS_ON for seed in range(SEEDS)}
    assert set(truth.columns) == probes | students
    assert len(probes - {f"{task}/linear_probe" for task in CHOSEN_ON}) >= 11
    assert len(set(STUDENTS_ON) - set(CHOSEN_ON)) >= 6


def test_students_tell_teachers_apart(truth: pd.DataFrame) -> None:
    for task in STUDENTS_ON:
        accuracy_ST = truth[[f"{task}/student/{seed}" for seed in range(SEEDS)]].to_numpy().T
        assert reliability(accuracy_ST) > 0.5, task
        assert ceiling(accuracy_ST) > 0.6, task
