"""Inverse optimal transport: the ground cost under which transport to the right class is cheapest.

Legend: N images, K teacher classes, M target classes, F fits on some of the images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        spans = {t: self._span(images, inside_FN, t) for t in self.temperatures}
        losses: dict[tuple[float, Candidate], float] = {}

        def best(temperatures: Floats, ridges: Floats, scales: Floats) -> tuple[float, Candidate]:
            candidates = [Candidate(ridge, scale) for ridge in ridges for scale in scales]
            for t in temperatures:
                new = [candidate for candidate in candidates if (t, candidate) not in losses]
                losses.update({(t, c): loss for c, loss in spans[t].losses(new).items()})
            # min() takes the first of equals.
            return min(product(temperatures, candidates), key=losses.__getitem__)

        ridge = self.ridges[len(self.ridges) // 2]
        for _ in range(1 if len(self._scales) == 1 else 2):
            temperature, candidate = best(self.temperatures, (ridge,), self._scales)
            temperature, candidate = best((temperature,), self.ridges, (candidate.scale,))
            ridge = candidate.ridge
        return temperature, spans[temperature], candidate

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


@dataclass(frozen=True)
class _LabelledImages:
    predictions: Predictions
    labels_N: Tensor
    num_classes: int
