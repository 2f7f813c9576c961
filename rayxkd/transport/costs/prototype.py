"""C[k, m] = 1 - cos: how far teacher class k lies from target class m in the teacher's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rayxkd.transport.costs.base import FittedCost, GroundCost, one_hot_NM
from rayxkd.transport.predictions import Predictions


@dataclass(frozen=True)
class PrototypeCost(GroundCost):
    """1 - cosine between class prototypes in the teacher's feature space (ours).

    Target prototype: mean feature of the class's images. Teacher prototype: the weight row of a
    head that is linear in the features, else the soft centroid sum_i p_ik phi_i / sum_i p_ik.
    Both are centred by the mean over their classes. A teacher without features is taken at its
    logits. Entries lie in [0, 2].

    Assumes that directions in feature space mean the same for weights and for images. Fails where
    a teacher's prototypes coincide (a soft centroid at high temperature, an untrained teacher).

    Attributes:
        temperature: temperature of the teacher's softmax.
    """

    name: ClassVar[str] = "prototype"
    unit: ClassVar[str] = "1 - cosine"
    temperature: float = 1.0

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:
        """See :meth:`GroundCost.fit`."""
        features_ND = predictions.embeddings_ND
        source_NK = predictions.probabilities_NK(self.temperature)
        target_NM = one_hot_NM(labels_N, num_classes).to(features_ND.device)
        target_MD = _centroids(target_NM, features_ND)
        if predictions.head_KD is None:
            teacher_KD = _centroids(source_NK, features_ND)
        else:
            teacher_KD = predictions.head_KD.double()
        cost_KM = 1.0 - _directions(teacher_KD) @ _directions(target_MD).T
        return FittedCost(cost_KM, self.temperature)


def _centroids(weight_NC: Tensor, features_ND: Tensor) -> Tensor:
    """Weighted mean feature of every class [C, D]; the overall mean for a class without weight."""
    mass_C1 = weight_NC.sum(dim=0)[:, None]
    centroid_CD = weight_NC.T @ features_ND / mass_C1.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(mass_C1 > 0, centroid_CD, features_ND.mean(dim=0))


def _directions(prototype_CD: Tensor) -> Tensor:
    """Centred rows of unit length; zero where a prototype is the centre itself."""
    centred_CD = prototype_CD - prototype_CD.mean(dim=0)
    return torch.nn.functional.normalize(centred_CD, dim=1)
