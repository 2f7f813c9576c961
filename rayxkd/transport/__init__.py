"""Optimal transport between label spaces: ground costs, problems, solvers and the score.

A ground cost and two sets of predictions make a :class:`TransportProblem`, :func:`solve` solves
it, and a :class:`TransportOutput` answers. :func:`entropic_transport` and :class:`TransportLoss`
are its differentiable forms. Tensors only: no files, no Ray.
"""

from __future__ import annotations

from rayxkd.transport.costs import (
    GROUND_COSTS,
    CallableCost,
    CooccurrenceCost,
    CrossFittedCost,
    FeatureCost,
    FeatureScale,
    FittedCost,
    GroundCost,
    LabelFreeCost,
    LearnedCost,
    MatrixCost,
    MixedCost,
    PrototypeCost,
    SemanticCost,
    ground_cost,
    stratified_folds,
)
from rayxkd.transport.entropic import EntropicTransport, entropic_transport
from rayxkd.transport.loss import TransportLoss
from rayxkd.transport.output import ClassPair, TransportOutput, top_pairs
from rayxkd.transport.predictions import Predictions
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.score import TransportScore, score_transport
from rayxkd.transport.solvers import METHODS, default_epsilon, solve

__all__ = [
    "GROUND_COSTS",
    "METHODS",
    "CallableCost",
    "ClassPair",
    "CooccurrenceCost",
    "CrossFittedCost",
    "EntropicTransport",
    "FeatureCost",
    "FeatureScale",
    "FittedCost",
    "GroundCost",
    "LabelFreeCost",
    "LearnedCost",
    "MatrixCost",
    "MixedCost",
    "Predictions",
    "PrototypeCost",
    "SemanticCost",
    "TransportLoss",
    "TransportOutput",
    "TransportProblem",
    "TransportScore",
    "default_epsilon",
    "entropic_transport",
    "ground_cost",
    "score_transport",
    "solve",
    "stratified_folds",
    "top_pairs",
]
