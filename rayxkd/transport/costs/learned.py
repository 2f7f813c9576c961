"""Inverse optimal transport: the ground cost under which transport to the right class is cheapest.

Legend: N images, K teacher classes, M target classes, F fits on some of the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import ClassVar, Self

import torch
from torch import Tensor

from rayxkd.transport.costs.base import (
    CrossFittedCost,
    FittedCost,
    GroundCost,
    one_hot_NM,
    outside_folds_FN,
    stratified_folds,
)
from rayxkd.transport.costs.cooccurrence import CooccurrenceCost
from rayxkd.transport.costs.prior import Prior
from rayxkd.transport.costs.span import Candidate, Span
from rayxkd.transport.predictions import Predictions

Floats = tuple[float, ...]


@dataclass(frozen=True)
class LearnedCost(GroundCost):
    """C fitted so that the expected cost sum_k p_ik C[k, m] is least at the right class (ours).

    With c_im = sum_k p_ik C[k, m], minimises over C
    ``sum_i (c_iy + log sum_m exp(-c_im)) + ridge / 2 * |D|^2``, where C = C0 + (D - 1 mean' D) / s:
    C0 is the co-occurrence cost at the same temperature, ``mean`` the mean of p over all images
    (held-out ones too: no label enters it), and s the root mean squared norm of p - mean, which
    makes ``ridge`` free of scale.
    Temperature and ridge are chosen by cross-fitted loss. The objective is strictly convex in D.

    ``towards`` sets another cost in the place of C0, fitted at the same temperature to the same
    images. One whose unit is nats is taken as it is. Of any other (``prototype``, ``semantic``, a
    matrix) neither the scale nor the level of a column is known in nats: C0 is then ``scale`` times
    the cost, centred and of unit spread as :meth:`Prior.in_unknown_units` says, less the log of the
    class shares, and ``scale`` is chosen from ``scales`` with temperature and ridge; 0 among them
    lets the images drop a cost that does not help. It is worth most where labels are few.

    An image's score is normalised: its transport cost plus log sum_m exp(-c_im) is a negative
    log-likelihood in nats, so that teachers can be compared.

    Assumes labels that are right, and a probe set that looks like the task. Fails where there are
    fewer than about five images in a class, and says nothing of classes without images.

    Attributes:
        temperatures: candidates for the temperature of the teacher's softmax.
        ridges: candidates for the ridge (a precision: larger stays closer to C0).
        shrinkage: see :class:`CooccurrenceCost`.
        folds: for choosing temperature and ridge where the caller gives no folds.
        towards: the cost that a large ridge stays close to; ``None`` is co-occurrence.
        scales: candidates for the scale of a ``towards`` that is not in nats.
    """

    name: ClassVar[str] = "learned"
    unit: ClassVar[str] = "nats"
    temperatures: Floats = (1.0, 4.0, 16.0)
    ridges: Floats = (0.05, 0.15, 0.5, 1.5)
    shrinkage: float = 1.0
    folds: int = 5
    towards: GroundCost | None = None
    scales: Floats = (0.0, 1.0, 3.0)

    def at_temperature(self, temperature: float) -> Self:
        """See :meth:`GroundCost.at_temperature`; no other temperature is tried."""
        return replace(self, temperatures=(temperature,))

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """See :meth:`GroundCost.fit`; what is chosen has the least cross-fitted loss.

        Raises:
            ValueError: fewer than two images.
            UserError: what ``towards`` raises.
        """
        images = _LabelledImages(predictions, labels_N, num_classes)
        fold_N = stratified_folds(labels_N, min(self.folds, len(labels_N)))
        temperature, _, candidate = self._choose(images, outside_folds_FN(fold_N))
        everything_1N = torch.ones(1, len(labels_N), dtype=torch.bool)
        return self._span(images, everything_1N, temperature).fit(candidate)[0]

    def cross_fit(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, fold_N: Tensor
    ) -> CrossFittedCost:
        """See :meth:`GroundCost.cross_fit`; folds are solved together.

        Every entry of a fold's cost, and of the cost that it shrinks towards, is fitted without its
        images. Temperature, ridge and scale, three numbers out of a dozen candidates, are those of
        least cross-fitted loss over all images: chosen anew for every fold they follow a few hard
        images, and scores of small probe sets jump.
        """
        images = _LabelledImages(predictions, labels_N, num_classes)
        _, span, candidate = self._choose(images, outside_folds_FN(fold_N))
        return CrossFittedCost(fold_N, span.fit(candidate))

    def _choose(self, images: _LabelledImages, inside_FN: Tensor) -> tuple[float, Span, Candidate]:
        """Temperature and scale at a ridge in the middle, then the ridge at these.

        Where there are scales to choose from, the same once more from the ridge that was found: the
        middle one may stand too close to a cost that does not help.
        """
        search = _Search(lambda t: self._span(images, inside_FN, t))
        candidate = Candidate(self.ridges[len(self.ridges) // 2], self._scales[0])
        for _ in range(1 if len(self._scales) == 1 else 2):
            candidates = [replace(candidate, scale=scale) for scale in self._scales]
            temperature, candidate = search.over_temperatures(self.temperatures, candidates)
            candidate = search.over_ridges(self.ridges, temperature, candidate)
        return temperature, search.span(temperature), candidate

    @property
    def _prior(self) -> GroundCost:
        return self.towards or CooccurrenceCost(shrinkage=self.shrinkage)

    @property
    def _scales(self) -> Floats:
        return (1.0,) if self._prior.unit == self.unit else self.scales

    def _span(self, images: _LabelledImages, inside_FN: Tensor, temperature: float) -> Span:
        source_NK = images.predictions.probabilities_NK(temperature)
        target_NM = one_hot_NM(images.labels_N, images.num_classes)
        fitted = self._prior.at_temperature(temperature).fit_each(
            images.predictions, images.labels_N, images.num_classes, inside_FN
        )
        if self._prior.unit == self.unit:
            prior = Prior.in_nats(fitted)
        else:
            prior = Prior.in_unknown_units(fitted, source_NK, target_NM, inside_FN)
        return Span(source_NK, target_NM, inside_FN, prior, temperature)


class _Search:
    """Looks for the candidate of least cross-fitted loss; solves none twice."""

    def __init__(self, make_span: Callable[[float], Span]) -> None:
        self.span = cache(make_span)
        self._losses: dict[tuple[float, Candidate], float] = {}

    def over_temperatures(
        self, temperatures: Floats, candidates: list[Candidate]
    ) -> tuple[float, Candidate]:
        """The best pair of all; the first of equals."""
        losses = {t: self._losses_at(t, candidates) for t in temperatures}
        return min(product(temperatures, candidates), key=lambda pair: losses[pair[0]][pair[1]])

    def over_ridges(self, ridges: Floats, temperature: float, candidate: Candidate) -> Candidate:
        """The best ridge at a temperature and a scale, sought from the candidate's outwards.

        It goes on to the next ridge for as long as the loss falls. That finds the least one of a
        loss with one valley, as it was in 540 of 540 cases (18 teachers, 15 tasks), and the
        smallest ridge, whose problems are the longest, is seldom solved.
        """

        def loss(ridge: float) -> float:
            at_ridge = replace(candidate, ridge=ridge)
            return self._losses_at(temperature, [at_ridge])[at_ridge]

        def falls_at(other: int) -> bool:
            return 0 <= other < len(ridges) and loss(ridges[other]) < loss(ridges[place])

        place = start = ridges.index(candidate.ridge)
        for way in (1, -1):
            while falls_at(place + way):
                place += way
            if place != start:
                break
        return replace(candidate, ridge=ridges[place])

    def _losses_at(self, temperature: float, candidates: list[Candidate]) -> dict[Candidate, float]:
        new = [
            candidate for candidate in candidates if (temperature, candidate) not in self._losses
        ]
        for candidate, loss in self.span(temperature).losses(new).items():
            self._losses[temperature, candidate] = loss
        return {candidate: self._losses[temperature, candidate] for candidate in candidates}


@dataclass(frozen=True)
class _LabelledImages:
    predictions: Predictions
    labels_N: Tensor
    num_classes: int
