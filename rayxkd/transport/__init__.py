"""Optimal transport between label spaces: ground costs, problems, solvers and the score.

A ground cost and two sets of predictions make a :class:`TransportProblem`, :func:`solve` solves
it, and a :class:`TransportOutput` answers. Tensors only: no files, no Ray.
"""

from __future__ import annotations

from rayxkd.transport.costs import (
    GROUND_COSTS,
    CooccurrenceCost,
    CrossFittedCost,
    FittedCost,
    GroundCost,
    LearnedCost,
    PrototypeCost,
    ground_cost,
    stratified_folds,
)
from rayxkd.transport.output import TransportOutput
from rayxkd.transport.predictions import Predictions
from rayxkd.transport.problem import TransportProblem
from rayxkd.transport.score import TransportScore, score_transport
from rayxkd.transport.solvers import METHODS, solve

__all__ = [
    "GROUND_COSTS",
    "METHODS",
    "CooccurrenceCost",
    "CrossFittedCost",
    "FittedCost",
    "GroundCost",
    "LearnedCost",
    "Predictions",
    "PrototypeCost",
    "TransportOutput",
    "TransportProblem",
    "TransportScore",
    "ground_cost",
    "score_transport",
    "solve",
    "stratified_folds",
]
