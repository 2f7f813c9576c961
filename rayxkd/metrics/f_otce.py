"""F-OTCE: what the class that an image is transported from leaves open about its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import centred, one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

EPSILON = 0.1  # of the mean cost
LEAST_MASS = 1e-6
MAX_STEPS = 10_000
TOLERANCE = 1e-9


class FOTCE(Metric):
    """Negative conditional entropy under optimal transport, adapted to teachers without data.

    The paper transports the images that the source model was trained on to those of the target
    task, and asks how much the labels of the ones leave open about the labels of the others. A
    teacher comes without its images, so this is OUR ADAPTATION and not the published score: each
    of its K classes stands as one point for the images that it was trained on, at the mean of the
    features f (logits where there are none) of the probe images, weighted by its prediction,

        prototype_k = sum_i p_ik f_i / sum_i p_ik,   with mass a_k = 1/N sum_i p_ik.

    Classes of mass below 1e-6 are left out. T is the entropic transport plan between prototypes
    and images, of mass 1/N each, for the squared Euclidean cost; epsilon is 0.1 of the cost's mean
    under the independent plan a_k / N. With P(k, y) the mass that T moves from class k to
    images of class y,

        F-OTCE = -H(Y | K) = sum_ky P(k, y) log( P(k, y) / P(k) )

    in [-H(Y), 0]; -H(Y) for features or predictions that tell no two images apart. Since the
    prototypes are made of the very images that they are transported to, it does not see how far the
    teacher's own images are from the task.

    Paper: Tan, Zhang, Li, Huang, Zhang, "Transferability-Guided Cross-Domain Cross-Task Transfer
    Learning", 2022, https://arxiv.org/abs/2207.05510
    """

    name = "f_otce"
    title = "F-OTCE (adapted): negative entropy of the label given the class it is moved from"
    higher_is_better = True
    unit = "nats, at most 0"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        return -couple(predictions).conditional_entropy(one_hot(labels_N, num_classes))


@dataclass(frozen=True)
class Coupling:
    """Mass moved between teacher classes and images.

    Attributes:
        plan_KN: how much goes from each class that has mass to each image.
        relative_cost: what it costs over what the independent plan costs, from 0 to 1; 1 if both
            cost nothing.
    """

    plan_KN: Tensor
    relative_cost: float

    def conditional_entropy(self, onehot_NM: Tensor) -> float:
        """Entropy of the label given the class that its image is moved from, in nats."""
        joint_KM = self.plan_KN @ onehot_NM
        given_KM = joint_KM / joint_KM.sum(dim=1, keepdim=True)
        return -float(torch.xlogy(joint_KM, given_KM).sum())


def couple(predictions: Predictions) -> Coupling:
    """Move the prototypes of a teacher's classes to the images."""
    features_ND = centred(predictions.embeddings_ND)
    probs_NK = predictions.probabilities_NK()
    probs_NK = probs_NK[:, probs_NK.mean(dim=0) >= LEAST_MASS]
    mass_K = probs_NK.sum(dim=0)
    prototype_KD = (probs_NK / mass_K).T @ features_ND
    mass_K = mass_K / mass_K.sum()
    mass_N = torch.full_like(features_ND[:, 0], 1 / len(features_ND))
    cost_KN = torch.cdist(prototype_KD, features_ND).square()
    independent = float(mass_K @ cost_KN @ mass_N)
    if independent == 0:
        return Coupling(torch.outer(mass_K, mass_N), 1.0)
    plan_KN = entropic_plan(mass_K, mass_N, cost_KN / independent)
    return Coupling(plan_KN, float((plan_KN * cost_KN).sum()) / independent)


def entropic_plan(mass_K: Tensor, mass_N: Tensor, cost_KN: Tensor) -> Tensor:
    """The plan of least cost less epsilon times its entropy [K, N]."""
    import ot

    # What is common to a column or a row does not change the plan. Without it each of them has a
    # zero, so that no row or column of exp(-cost / epsilon) vanishes.
    cost_KN = cost_KN - cost_KN.amin(dim=0)
    cost_KN = cost_KN - cost_KN.amin(dim=1, keepdim=True)
    how = {"numItermax": MAX_STEPS, "stopThr": TOLERANCE, "warn": False}
    plan_KN: Tensor = ot.sinkhorn(mass_K, mass_N, cost_KN, EPSILON, **how)
    return plan_KN
