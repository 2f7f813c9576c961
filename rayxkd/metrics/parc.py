"""PARC: are images that are far apart for the teacher also of different classes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import pearson

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

DECIMALS = 12  # distances that agree to these are equal: ranks must not sort rounding errors


class PARC(Metric):
    """Pairwise annotation representation comparison.

    The Spearman rank correlation, over all pairs of images, between two distances: 1 - Pearson
    correlation of their features (logits where a teacher has none), and 1 - Pearson correlation of
    their one-hot labels. It is the paper's formula on the features as they are; the code that the
    authors released also standardises each feature, can reduce them by PCA, and multiplies by 100.

    An image whose features are all equal has correlation 0 with any other; features that tell no
    two images apart score 0.

    Time and memory grow with the square of the number of images.

    Paper: Bolya, Mittapalli, Hoffman, "Scalable Diverse Model Selection for Accessible Transfer
    Learning", NeurIPS 2021, https://arxiv.org/abs/2111.06977
    """

    name = "parc"
    title = "PARC: rank correlation of pairwise distances between features and between labels"
    higher_is_better = True
    unit = "correlation, from -1 to 1"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        from scipy.stats import spearmanr

        check_inputs(predictions, labels_N, num_classes)
        num_images = len(labels_N)
        first_P, second_P = torch.triu_indices(num_images, num_images, 1, device=labels_N.device)
        distance_NN = 1 - pearson(predictions.embeddings_ND)
        features_P = distance_NN[first_P, second_P].round(decimals=DECIMALS)
        # 1 - Pearson of two one-hot labels is 0 or M / (M - 1): for ranks, whether they differ.
        labels_P = labels_N[first_P] != labels_N[second_P]
        # Ranks that are all equal have no correlation with anything.
        if bool((features_P == features_P[0]).all()) or bool(labels_P.all()):
            return 0.0
        ranked = spearmanr(features_P.numpy(force=True), labels_P.numpy(force=True))
        return float(ranked.statistic)
