"""How well one ranker's scores agree with the truth on one task and seed.

Legend: T teachers.
"""

from __future__ import annotations

from dataclasses import dataclass

from rayxkd.study.choices import recall, regret
from rayxkd.study.correlations import Floats, pearson, spearman, weighted_tau


@dataclass(frozen=True)
class Agreement:
    """How well one ranker's scores agree with the truth on one task and seed.

    Attributes:
        weighted_tau: see :func:`weighted_tau`; in [-1, 1] as the next two.
        spearman: rank correlation.
        pearson: linear correlation.
        regret_1: accuracy points lost by taking the first choice.
        regret_3: accuracy points lost by taking the best of the first three.
        recall_1: probability that the first choice is a best teacher.
        recall_3: share of the three best teachers among the first three.
        recall_5: share of the five best teachers among the first five.
    """

    weighted_tau: float
    spearman: float
    pearson: float
    regret_1: float
    regret_3: float
    recall_1: float
    recall_3: float
    recall_5: float


def agreement(score_T: Floats, truth_T: Floats) -> Agreement:
    """Compare scores, higher is better, with accuracies in [0, 1].

    Raises:
        ValueError: as :func:`weighted_tau`.
    """
    return Agreement(
        weighted_tau=weighted_tau(score_T, truth_T),
        spearman=spearman(score_T, truth_T),
        pearson=pearson(score_T, truth_T),
        regret_1=regret(score_T, truth_T, 1),
        regret_3=regret(score_T, truth_T, 3),
        recall_1=recall(score_T, truth_T, 1),
        recall_3=recall(score_T, truth_T, 3),
        recall_5=recall(score_T, truth_T, 5),
    )
