"""What a teacher's predictions are worth: its transport cost, and other metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rayxkd.assess.evidence import Judged
from rayxkd.assess.names import all_known
from rayxkd.assess.task import Task
from rayxkd.data import ClassVectors
from rayxkd.leaderboard import Assessment
from rayxkd.metrics import metric_named
from rayxkd.status import Status
from rayxkd.teachers import TeacherError
from rayxkd.transport import (
    CooccurrenceCost,
    FeatureCost,
    GroundCost,
    LearnedCost,
    Predictions,
    ground_cost,
    score_transport,
    stratified_folds,
)
from rayxkd.transport.costs import SemanticCost
from rayxkd.transport.costs.base import one_hot_NM


class Scorer:
    """Scores teachers one after another; keeps what they share.

    Attributes:
        labels_N: target labels, int64.
        reference_NM: what predictions are moved to, float64; rows sum to one.
    """

    def __init__(self, task: Task) -> None:
        """Prepare what teachers share.

        Args:
            task: what they were asked.
        """
        self._task = task
        self.labels_N: Tensor = torch.from_numpy(np.array(task.probe.labels_N))
        self.reference_NM: Tensor = (
            one_hot_NM(self.labels_N, task.probe.num_classes)
            if task.reference_NM is None
            else torch.from_numpy(np.array(task.reference_NM))
        )
        vectors = task.name_vectors
        self._vectors: ClassVectors = {} if vectors is None else vectors.by_name()
        folds = min(task.scoring.folds, len(task.probe))
        self._fold_N = stratified_folds(self.labels_N, folds, task.scoring.seed)

    def transport(self, predictions: Predictions, row: Assessment) -> tuple[Assessment, Judged]:
        """The cross-fitted transport cost.

        Returns:
            The row with cost, interval and how it came about; and what explains it.

        Raises:
            TeacherError: a transport problem did not converge.
        """
        scoring, probe = self._task.scoring, self._task.probe
        cost, prior = self.ground_cost(predictions)
        fitted = cost.cross_fit(predictions, self.labels_N, probe.num_classes, self._fold_N)
        keep_map = self._task.evidence is not None and self._task.reference_NM is not None
        score = score_transport(predictions, self.reference_NM, fitted, keep_map=keep_map)
        if not score.converged:
            raise TeacherError(Status.INVALID, "its transport problems did not converge")
        low, high = score.interval(seed=scoring.seed)
        row = replace(
            row,
            transport_cost=score.cost,
            transport_cost_low=low,
            transport_cost_high=high,
            relative_cost=score.relative_cost,
            temperature=fitted.costs[0].temperature,
            cost_prior=prior,
        )
        return row, Judged(predictions, fitted, score)

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """The other metrics that are wanted, by name."""
        classes = self._task.probe.num_classes
        return {
            name: metric_named(name).fit(predictions, self.labels_N, classes)
            for name in self._task.scoring.metrics
        }

    def ground_cost(self, predictions: Predictions) -> tuple[GroundCost, str | None]:
        """The ground cost for one teacher, and what it shrinks towards, if it does."""
        cost = ground_cost(self._task.scoring.cost, self._task.scoring.temperature)
        if isinstance(cost, FeatureCost):
            return cost, CooccurrenceCost.name
        if not isinstance(cost, LearnedCost):
            return cost, None
        if not all_known(predictions.class_names or (), self._vectors):
            return cost, CooccurrenceCost.name
        semantic = SemanticCost(self._task.probe.class_names, self._vectors)
        return replace(cost, towards=semantic), semantic.name
