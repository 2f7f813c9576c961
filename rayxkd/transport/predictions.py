"""A teacher's output on a set of images: what every ground cost and every metric starts from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """The output of one classifier on N images.

    Attributes:
        logits_NK: pre-softmax scores, floating point, shape [N, K].
        features_ND: input of the classification head, shape [N, D], or ``None`` if it is not known.
        head_KD: weight rows of the head, shape [K, D], where the head is linear in the features.
        class_names: what the teacher calls its K classes, or ``None``; names may repeat.

    Raises:
        ValueError: shapes that do not fit together, or another number of names.
    """

    logits_NK: Tensor
    features_ND: Tensor | None = None
    head_KD: Tensor | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.logits_NK.ndim != 2:
            raise ValueError(f"logits must be [N, K], not {tuple(self.logits_NK.shape)}")
        features, head = self.features_ND, self.head_KD
        if features is not None and (features.ndim != 2 or len(features) != len(self.logits_NK)):
            raise ValueError(
                f"features {tuple(features.shape)} do not fit logits {tuple(self.logits_NK.shape)}"
            )
        if head is not None and (
            features is None or head.shape != (self.num_classes, features.shape[1])
        ):
            raise ValueError(f"head {tuple(head.shape)} does not fit the features and classes")
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(f"{len(self.class_names)} class names for {self.num_classes} classes")

    @property
    def num_images(self) -> int:
        """N."""
        return self.logits_NK.shape[0]

    @property
    def num_classes(self) -> int:
        """K."""
        return self.logits_NK.shape[1]

    @property
    def embeddings_ND(self) -> Tensor:
        """The features, or the logits of a teacher that shows none; float64."""
        known = self.logits_NK if self.features_ND is None else self.features_ND
        return known.double()

    @property
    def is_finite(self) -> bool:
        """Whether no logit and no feature is NaN or infinite."""
        finite = bool(torch.isfinite(self.logits_NK).all())
        return finite and (self.features_ND is None or bool(torch.isfinite(self.features_ND).all()))

    def probabilities_NK(self, temperature: float = 1.0) -> Tensor:
        """softmax(logits / temperature) in float64, shape [N, K]; rows sum to one."""
        return torch.softmax(self.logits_NK.double() / temperature, dim=1)

    def rows(self, index: Tensor) -> Predictions:
        """The predictions for some of the images, chosen by an index or a boolean mask [N]."""
        features = None if self.features_ND is None else self.features_ND[index]
        return Predictions(self.logits_NK[index], features, self.head_KD, self.class_names)
