"""SFDA: how well Fisher's discriminant tells the classes apart after they were moved together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import one_hot, principal_components

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

STEEPNESS = 5.0
LEAST_SCATTER = 1e-10  # within classes, in units of the total variance


class SFDA(Metric):
    """Self-challenging Fisher discriminant analysis.

    The features f (logits where a teacher has none) are classified by a regularised discriminant,
    the Gaussian classifier with one covariance for all classes: with S_w the scatter within
    classes,

        S = (1 - a) S_w + a tr(S_w)/D I,   a = exp(-5 largest eigenvalue of S_w)
        p_i = softmax_m( f_i' S^-1 mu_m - 1/2 mu_m' S^-1 mu_m + log N_m/N )

    Then each image is moved towards the classes that it is not of, the further the less sure the
    classifier is of its class (ConfMix), and a second discriminant with the same a is fitted to
    what came of it:

        q_i = softmax(p_i)[y_i],   f_i <- q_i f_i + (1 - q_i) mean of the other classes' means
        SFDA = 1/N sum_i p_i[y_i] of the second discriminant,

    from 0 to 1. The softmax of a softmax and the mean of probabilities instead of their logarithms
    are those of the authors' code.

    Ours: the features are first divided so that their variance, summed over them, is 1. The
    paper's a depends on their scale; for the features of real networks as they are it vanishes,
    and with more features than images the discriminant then fits any labels, also wrong ones,
    exactly. It still is scored on the images that it was fitted to, and favours teachers with many
    features.

    Paper: Shao, Zhao, Ge, Zhang, Yang, Wang, Shan, Luo, "Not All Models Are Equal: Predicting Model
    Transferability in a Self-challenging Fisher Space", ECCV 2022, https://arxiv.org/abs/2207.03036
    """

    name = "sfda"
    title = "SFDA: probability of the true class by a self-challenging Fisher discriminant"
    higher_is_better = True
    unit = "probability, from 0 to 1"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        onehot_NM = one_hot(labels_N, num_classes)
        onehot_NM = onehot_NM[:, onehot_NM.any(dim=0)]
        # Nothing happens outside of the images' span, but the ridge counts all D features.
        rows_NR = principal_components(predictions.embeddings_ND)
        dimension = predictions.embeddings_ND.shape[1]
        if rows_NR.shape[1] == 0:  # nothing is known but the frequencies
            return float(onehot_NM.mean(dim=0).square().sum())
        rows_NR = rows_NR / (rows_NR.square().sum() / len(rows_NR)).sqrt()
        strength = regularisation_strength(rows_NR, onehot_NM)
        first = Discriminant.of(rows_NR, onehot_NM, strength, dimension)
        mixed_NR = confidence_mix(rows_NR, onehot_NM, first.probabilities_NM(rows_NR))
        second = Discriminant.of(mixed_NR, onehot_NM, strength, dimension)
        return float((second.probabilities_NM(mixed_NR) * onehot_NM).sum(dim=1).mean())


@dataclass(frozen=True)
class Discriminant:
    """A linear classifier into M classes.

    Attributes:
        weight_RM: S^-1 mu_m.
        bias_M: what the logits have beside it.
    """

    weight_RM: Tensor
    bias_M: Tensor

    @classmethod
    def of(
        cls, rows_NR: Tensor, onehot_NM: Tensor, strength: float, dimension: int
    ) -> Discriminant:
        """Fit one, whose ridge is a share of the mean variance over so many dimensions."""
        mean_MR = class_means(rows_NR, onehot_NM)
        scatter_RR = scatter_within(rows_NR, onehot_NM)
        ridge = float(scatter_RR.trace().clamp_min(LEAST_SCATTER)) / dimension
        shrunk_RR = (1 - strength) * scatter_RR
        shrunk_RR.diagonal().add_(strength * ridge)
        weight_RM = torch.linalg.solve(shrunk_RR, mean_MR.T)
        return cls(weight_RM, onehot_NM.mean(dim=0).log() - (mean_MR.T * weight_RM).sum(dim=0) / 2)

    def probabilities_NM(self, rows_NR: Tensor) -> Tensor:
        """The classes' posterior for each row."""
        return torch.softmax(rows_NR @ self.weight_RM + self.bias_M, dim=1)


def class_means(rows_NR: Tensor, onehot_NM: Tensor) -> Tensor:
    """Mean row of each class [M, R]."""
    return (onehot_NM / onehot_NM.sum(dim=0)).T @ rows_NR


def scatter_within(rows_NR: Tensor, onehot_NM: Tensor) -> Tensor:
    """Covariance of the rows about the means of their classes [R, R]."""
    deviation_NR = rows_NR - onehot_NM @ class_means(rows_NR, onehot_NM)
    return deviation_NR.T @ deviation_NR / len(rows_NR)


def regularisation_strength(rows_NR: Tensor, onehot_NM: Tensor) -> float:
    """a in (0, 1]: the less the classes scatter, the more their scatter is regularised."""
    largest = torch.linalg.eigvalsh(scatter_within(rows_NR, onehot_NM))[-1]
    return math.exp(-STEEPNESS * float(largest.clamp_min(0)))


def confidence_mix(rows_NR: Tensor, onehot_NM: Tensor, probs_NM: Tensor) -> Tensor:
    """Rows moved towards the other classes as far as the classifier doubts them [N, R]."""
    mean_MR = class_means(rows_NR, onehot_NM)
    outer_MR = (mean_MR.sum(dim=0) - mean_MR) / (len(mean_MR) - 1)
    sure_N1 = (torch.softmax(probs_NM, dim=1) * onehot_NM).sum(dim=1, keepdim=True)
    return sure_N1 * rows_NR + (1 - sure_N1) * (onehot_NM @ outer_MR)
