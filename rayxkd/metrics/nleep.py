"""N-LEEP: LEEP with clusters of the features in place of the teacher's classes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.leep import LEEP
from rayxkd.metrics.linalg import order_of_rows, principal_components
from rayxkd.transport.predictions import Predictions

if TYPE_CHECKING:
    from torch import Tensor

ENERGY = 0.8
COMPONENTS_PER_CLASS = 5
IMAGES_PER_COMPONENT = 5  # with fewer, components know single images and not groups of them
RIDGE = 1e-2  # added to each variance, in units of the mean variance
SEED = 0


class NLEEP(Metric):
    """LEEP of the components of a Gaussian mixture.

    The features, or the logits of a teacher that shows none, are reduced to the principal
    components that hold 80 % of their variance. A mixture of V Gaussians with full covariances is
    fitted to them, and its posterior takes the place of the softmax in LEEP:

        p_i(v) = w_v N(x_i; mu_v, S_v) / sum_u w_u N(x_i; mu_u, S_u)
        N-LEEP = 1/N sum_i log sum_v P(y_i | v) p_i(v),

    at most 0. V is five for each class with images, as in the paper.

    Ours: probe sets are small, so V is no more than one for each five images, or one for each
    class if that is more, or the number of different images; a hundredth of the mean variance is
    added to the diagonal of each covariance, which makes the score independent of the features'
    scale. k-means, from which the mixture starts, is seeded and sees the images in the order of
    their features, so that the score does not depend on the order of the probe set.

    Like LEEP it is estimated on the images that it is scored on: compare scores of one probe set
    only.

    Paper: Li, Jia, Sang, Zhu, Green, Wang, Gong, "Ranking Neural Checkpoints", CVPR 2021,
    https://arxiv.org/abs/2011.11200
    """

    name = "nleep"
    title = "N-LEEP: LEEP with the components of a Gaussian mixture of the features as classes"
    higher_is_better = True
    unit = "nats, at most 0"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        order_N = order_of_rows(predictions.embeddings_ND)
        features_ND, labels_N = predictions.embeddings_ND[order_N], labels_N[order_N]
        components = number_of_components(features_ND, labels_N)
        posterior_NV = mixture_posterior(most_energetic(features_ND), components)
        # LEEP of a teacher whose softmax this posterior is.
        logits_NV = posterior_NV.clamp_min(torch.finfo(torch.float64).tiny).log()
        return LEEP().fit(Predictions(logits_NV), labels_N, num_classes)


def number_of_components(sorted_ND: Tensor, labels_N: Tensor) -> int:
    """V, for rows in lexicographic order."""
    classes = len(torch.unique(labels_N))
    affordable = max(classes, len(labels_N) // IMAGES_PER_COMPONENT)
    # k-means cannot part rows that are equal; sorted, they are neighbours.
    distinct = 1 + int((sorted_ND[1:] != sorted_ND[:-1]).any(dim=1).sum())
    return min(COMPONENTS_PER_CLASS * classes, affordable, distinct)


def most_energetic(features_ND: Tensor) -> Tensor:
    """The fewest principal components with 80 % of the variance [N, R], brought to mean square 1.

    None if all images have the same features.
    """
    coordinates_NR = principal_components(features_ND)
    energy_R = coordinates_NR.square().sum(dim=0)
    held_R = energy_R.cumsum(dim=0) / energy_R.sum()
    kept_NR = coordinates_NR[:, : int((held_R < ENERGY).sum()) + 1]
    return kept_NR / kept_NR.square().mean().sqrt()


def mixture_posterior(rows_NR: Tensor, components: int) -> Tensor:
    """Which Gaussian of a mixture each row comes from, float64 [N, V]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    # Rows without a coordinate are all the same.
    if components == 1 or rows_NR.shape[1] == 0:
        return torch.ones(len(rows_NR), 1, dtype=torch.float64, device=rows_NR.device)
    rows = rows_NR.numpy(force=True)
    mixture = GaussianMixture(components, reg_covar=RIDGE, random_state=SEED)
    with warnings.catch_warnings():
        # The posterior after the last iteration is a posterior too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        posterior = mixture.fit(rows).predict_proba(rows)
    return torch.from_numpy(posterior).to(rows_NR.device)
