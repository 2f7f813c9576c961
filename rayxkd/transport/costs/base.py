"""What every ground cost is: something that is fitted to labelled images and gives C[K, M]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from rayxkd.transport.predictions import Predictions


@dataclass(frozen=True)
class FeatureScale:
    """Takes the D channels of features for classes: logits (phi - mean) / spread (ours).

    Attributes:
        mean_D: mean of the features, float64.
        spread: root mean square of what is left, over images and channels.
    """

    mean_D: Tensor
    spread: float

    @classmethod
    def of(cls, predictions: Predictions) -> FeatureScale:
        """The scale of the images at hand; no label has a part in it."""
        mean_D = predictions.embeddings_ND.mean(dim=0)
        spread = float((predictions.embeddings_ND - mean_D).square().mean().sqrt())
        return cls(mean_D, spread or 1.0)  # constant features say nothing at any scale

    def logits_ND(self, embeddings_ND: Tensor) -> Tensor:
        """Features as logits, on their device and in their precision."""
        return (embeddings_ND - self.mean_D.to(embeddings_ND)) / self.spread

    def applied(self, predictions: Predictions) -> Predictions:
        """The predictions of a teacher whose classes are the channels."""
        logits_ND = self.logits_ND(predictions.embeddings_ND)
        return Predictions(logits_ND, predictions.features_ND)


@dataclass(frozen=True)
class FittedCost:
    """A ground cost between K teacher classes and M target classes.

    Attributes:
        cost_KM: cost of moving one unit of mass from teacher class k to target class m, float64.
        temperature: the temperature at which the teacher's logits become the mass that is moved.
        normalised: whether an image's costs are scored as a negative log-likelihood, that is with
            logsumexp_m(-c_im) added, so that costs fitted per teacher can be compared.
        features: how features become logits where mass lies on their channels (K = D) and not on
            the teacher's classes; else ``None``.
    """

    cost_KM: Tensor
    temperature: float = 1.0
    normalised: bool = False
    features: FeatureScale | None = None

    def source_NK(self, predictions: Predictions) -> Tensor:
        """The mass that is moved: softmax(logits / temperature), float64."""
        if self.features is not None:
            predictions = self.features.applied(predictions)
        return predictions.probabilities_NK(self.temperature)

    def with_rows_permuted(self, generator: torch.Generator) -> FittedCost:
        """The control: the rows in the order of a random cycle, so that none stays where it was."""
        cycle_K = torch.randperm(len(self.cost_KM), generator=generator)
        permuted_KM = torch.empty_like(self.cost_KM)
        permuted_KM[cycle_K] = self.cost_KM[cycle_K.roll(1)]
        return replace(self, cost_KM=permuted_KM)

    def offset_N(self, source_NK: Tensor) -> Tensor:
        """What is added to an image's transport cost to make it comparable between teachers.

        logsumexp_m(-c_im) with c_im = sum_k p_ik C[k, m] where the cost is ``normalised``, else 0.
        """
        if not self.normalised:
            return source_NK.new_zeros(len(source_NK))
        return torch.logsumexp(-source_NK @ self.cost_KM, dim=1)


@dataclass(frozen=True)
class CrossFittedCost:
    """One ground cost per fold, each fitted on the images outside its fold.

    Attributes:
        fold_N: the fold that each image belongs to, int64, values 0 to len(costs) - 1.
        costs: ``costs[f]`` was fitted without the images of fold f, so it may score them.
    """

    fold_N: Tensor
    costs: tuple[FittedCost, ...]


class GroundCost(ABC):
    """A way to make C[K, M] from a teacher's predictions on labelled images.

    Attributes:
        name: what the user types.
        unit: unit of one entry of C, and of the transport cost.
    """

    name: ClassVar[str]
    unit: ClassVar[str]

    @abstractmethod
    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """Fit the cost.

        Args:
            predictions: the teacher's output on N labelled images.
            labels_N: target labels, int64, in [0, num_classes).
            num_classes: M; every class must have at least one image.
        """

    def at_temperature(self, temperature: float) -> Self:
        """The same cost for a teacher's softmax at that temperature; itself where it has none."""
        if "temperature" not in getattr(self, "__dataclass_fields__", {}):
            return self
        changed: Self = replace(cast(Any, self), temperature=temperature)
        return changed

    def fit_each(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, inside_FN: Tensor
    ) -> tuple[FittedCost, ...]:
        """Fit one cost on each of F selections of the images; other arguments as in :meth:`fit`.

        Args:
            inside_FN: which images each fit may see, bool.
        """
        return tuple(
            self.fit(predictions.rows(rows), labels_N[rows], num_classes) for rows in inside_FN
        )

    def cross_fit(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, fold_N: Tensor
    ) -> CrossFittedCost:
        """Fit one cost per fold on the images outside it; arguments as in :meth:`fit`.

        A cost that is scored on the images it was fitted to would flatter teachers with many
        classes, which have more entries to fit.
        """
        outside_FN = outside_folds_FN(fold_N)
        return CrossFittedCost(
            fold_N, self.fit_each(predictions, labels_N, num_classes, outside_FN)
        )


class LabelFreeCost(GroundCost):
    """A ground cost in which neither labels nor images have a part: it is the same in each fold."""

    def fit_each(
        self, predictions: Predictions, labels_N: Tensor, num_classes: int, inside_FN: Tensor
    ) -> tuple[FittedCost, ...]:
        """See :meth:`GroundCost.fit_each`; fitted once."""
        return (self.fit(predictions, labels_N, num_classes),) * len(inside_FN)


def outside_folds_FN(fold_N: Tensor) -> Tensor:
    """For every fold, the images that are not in it, bool."""
    return torch.stack([fold_N != fold for fold in range(int(fold_N.max()) + 1)])


def stratified_folds(labels_N: Tensor, folds: int = 5, seed: int = 0) -> Tensor:
    """Deal images into folds so that every class is spread evenly, int64 [N].

    The images are shuffled by ``numpy.random.default_rng(seed)``, stably sorted by label, and
    dealt round-robin: a class with two images or more is never missing outside a fold.

    Raises:
        ValueError: fewer than two folds, or fewer images than folds.
    """
    if folds < 2 or len(labels_N) < folds:
        raise ValueError(f"{len(labels_N)} images cannot be dealt into {folds} folds")
    order = np.random.default_rng(seed).permutation(len(labels_N))
    order = order[np.argsort(labels_N.numpy(force=True)[order], kind="stable")]
    fold_N = torch.empty(len(labels_N), dtype=torch.int64)
    fold_N[torch.from_numpy(order)] = torch.arange(len(labels_N)) % folds
    return fold_N


def one_hot_NM(labels_N: Tensor, num_classes: int) -> Tensor:
    """The labels as float64 rows [N, M] with a single one."""
    return torch.nn.functional.one_hot(labels_N, num_classes).double()
