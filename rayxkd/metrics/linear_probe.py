"""Linear probe: can a linear classifier, trained on other images, read the class off?"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import centred, order_of_rows, principal_components

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

FOLDS = 5
INVERSE_RIDGE = 10.0  # scikit-learn's C, for rows whose mean square length is one
MAX_STEPS = 1000
TOLERANCE = 1e-6  # scikit-learn's own leaves images near a boundary to the turn of the features
SEED = 0


class LinearProbe(Metric):
    """Cross-fitted accuracy of a multinomial logistic regression on the features.

    The features (logits where a teacher has none) are brought to mean 0 and variance 1/D each, so
    that images have length 1 in the mean square. In each of five stratified folds, images are
    given the class that is most probable by

        argmin_(W, b)  10 sum_i -log softmax(W f_i + b)[y_i] + 1/2 |W|^2

    over the images of the other four, and the score is how often that is right. Fewer folds where
    no class has five images; 0 if every image is alone in its class.

    Unlike the other scores it trains a classifier, though only on top of the features, in about a
    tenth of a second, which makes it the rival to beat. Its ridge is fixed: on real networks'
    features it lies in the middle of a broad optimum, and a search would cost more than all folds.

    The draw of the folds is seeded and sees the images in the order of their features, so that the
    score does not depend on the order of the probe set.

    Linear probes go back to Alain, Bengio, "Understanding intermediate layers using linear
    classifier probes", 2016, https://arxiv.org/abs/1610.01644; they judge how ImageNet models
    transfer in Kornblith, Shlens, Le, CVPR 2019, https://arxiv.org/abs/1805.08974. The details are
    ours.
    """

    name = "linear_probe"
    title = "linear probe: cross-fitted accuracy of a logistic regression on the features"
    higher_is_better = True
    unit = "accuracy, from 0 to 1"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        order_N = order_of_rows(predictions.embeddings_ND)
        rows_NR = standardised(predictions.embeddings_ND[order_N]).numpy(force=True)
        labels = labels_N[order_N].numpy(force=True)
        hits = [
            predicted_classes(rows_NR[train], labels[train], rows_NR[test]) == labels[test]
            for train, test in stratified_folds(labels)
        ]
        return float(np.concatenate(hits).mean()) if hits else 0.0


def standardised(features_ND: Tensor) -> Tensor:
    """Features of variance 1/D each, turned to their principal axes [N, R], R >= 1.

    The ridge does not see the turn, and no classifier needs more columns than there are images.
    """
    centred_ND = centred(features_ND)
    deviation_D = centred_ND.square().mean(dim=0).sqrt()
    scaled_ND = torch.where(deviation_D > 0, centred_ND / deviation_D, 0.0)
    rows_NR = principal_components(scaled_ND / features_ND.shape[1] ** 0.5)
    # A classifier needs a column, also of features that say nothing.
    return rows_NR if rows_NR.shape[1] > 0 else torch.zeros_like(scaled_ND[:, :1])


def stratified_folds(
    labels: NDArray[np.int64],
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test images of each fold; none if no class has two images."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(FOLDS, int(np.bincount(labels).max()))
    if folds < 2:
        return []
    with warnings.catch_warnings():
        # Classes with fewer images than folds are missing from some: that is as it should be.
        warnings.simplefilter("ignore", UserWarning)
        split = StratifiedKFold(folds, shuffle=True, random_state=SEED).split(labels, labels)
        return list(split)


def predicted_classes(
    train_NR: NDArray[np.float64], labels: NDArray[np.int64], test_NR: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The most probable class of each test row."""
    from sklearn.linear_model import LogisticRegression

    # With one class there is nothing to learn.
    if len(np.unique(labels)) == 1:
        return np.full(len(test_NR), labels[0])
    model = LogisticRegression(C=INVERSE_RIDGE, max_iter=MAX_STEPS, tol=TOLERANCE)
    predicted: NDArray[np.int64] = model.fit(train_NR, labels).predict(test_NR)
    return predicted
