"""C[k, m] = 1 - cos of the class names' embeddings: what the names say, before any image is seen.

Legend: K teacher classes, M target classes, C either of them, D dimensions of the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from rayxkd.errors import UserError, some_of
from rayxkd.transport.costs.base import FittedCost, LabelFreeCost
from rayxkd.transport.costs.given import Matrix, finite_matrix, real_array
from rayxkd.transport.predictions import Predictions

Encoder = Callable[[Sequence[str]], Matrix]


@dataclass(frozen=True, eq=False)
class SemanticCost(LabelFreeCost):
    """1 - cosine between the embeddings of a teacher's and a target's class names (ours).

    C[k, m] = 1 - e_k . e_m / (|e_k| |e_m|), in [0, 2]; a zero vector is at 1 from everything. No
    image and no label has a part in it, so that it is the same in every fold, and it covers target
    classes without images.

    Assumes that classes with near names look alike to the teacher. Fails where names are codes
    ('n01440764', 'class 7') or words with two senses ('crane'), where the embeddings lie in a
    narrow cone (all cosines near one: centre them first), and where a teacher was trained on wrong
    labels: its names are as good as any. Its scale is the encoder's, not nats: use it for maps and
    as what a :class:`LearnedCost` shrinks towards.

    Attributes:
        target_names: names of the M target classes.
        encoder: a function that takes n names and gives their embeddings [n, D], called once for
            either side; or a mapping from each name, letter for letter, to its vector [D]. Real
            and finite, any real dtype; computed in float64.
        source_names: names of the K teacher classes, where ``predictions.class_names`` has none
            or should not be used.
        temperature: temperature of the teacher's softmax.

    Raises:
        UserError: when fitted: no names, another number of names than classes, a name without a
            vector, or embeddings that are not finite or do not fit together.
    """

    name: ClassVar[str] = "semantic"
    unit: ClassVar[str] = "1 - cosine"
    target_names: Sequence[str]
    encoder: Encoder | Mapping[str, Matrix]
    source_names: Sequence[str] | None = None
    temperature: float = 1.0

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> FittedCost:  # noqa: ARG002
        """See :meth:`GroundCost.fit`; labels are not looked at."""
        source_names = self.source_names
        if source_names is None:
            source_names = predictions.class_names
        if not source_names:
            raise UserError(
                "the semantic cost needs the teacher's class names: write them into the card "
                "(label_names), or give source_names"
            )
        source_KD = self._embed(source_names, "teacher", predictions.num_classes)
        target_MD = self._embed(self.target_names, "target", num_classes)
        if source_KD.shape[1] != target_MD.shape[1]:
            raise UserError(
                f"embeddings of the teacher's class names have {source_KD.shape[1]} dimensions, "
                f"those of the target's {target_MD.shape[1]}: the encoder must give all the same"
            )
        cosine_KM = normalize(source_KD, dim=1) @ normalize(target_MD, dim=1).T
        return FittedCost(1.0 - cosine_KM, self.temperature)

    def _embed(self, names: Sequence[str], side: str, classes: int) -> Tensor:
        """Embeddings [C, D] of the names of one side, float64."""
        if len(names) != classes:
            raise UserError(
                f"{len(names)} {side} class names for {classes} {side} classes: "
                "give one name a class, in the classes' order"
            )
        what = f"embeddings of the {side}'s class names"
        if isinstance(self.encoder, Mapping):
            return finite_matrix(_look_up(self.encoder, names, side), what)
        vectors_CD = finite_matrix(self.encoder(list(names)), what)
        if len(vectors_CD) != classes:
            raise UserError(f"the encoder gave {len(vectors_CD)} vectors for {classes} names")
        return vectors_CD


def _look_up(
    vectors: Mapping[str, Matrix], names: Sequence[str], side: str
) -> list[NDArray[np.float64]]:
    missing = [name for name in names if name not in vectors]
    if missing:
        raise UserError(
            f"no vector for {len(missing)} of {len(names)} {side} class names "
            f"({some_of(missing)}): add them, or give an encoder that embeds any name"
        )
    return [real_array(vectors[name], f"the vector of {name!r}") for name in names]
