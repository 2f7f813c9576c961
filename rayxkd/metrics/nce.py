"""NCE: how much the teacher's hard decision leaves open about the label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rayxkd.metrics.base import Metric, check_inputs

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions


class NCE(Metric):
    """Negative conditional entropy of the label given the teacher's decision.

    With z_i = argmax_k p_i(k), the first such class where several are equal,

        NCE = -H(Y | Z) = 1/N sum_i log( #(z_i, y_i) / #(z_i) ),

    at most 0. The paper conditions on source labels of the same images; where an image has none,
    the teacher's decision stands in for it, as in the comparison of the LEEP paper.

    Paper: Tran, Nguyen, Hassner, "Transferability and Hardness of Supervised Classification Tasks",
    ICCV 2019, https://arxiv.org/abs/1908.08142
    """

    name = "nce"
    title = "NCE: negative conditional entropy of the label given the teacher's hard decision"
    higher_is_better = True
    unit = "nats, at most 0"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        decision_N = predictions.logits_NK.argmax(dim=1)
        # Number each pair (z, y), and count the images that share a pair, or a z.
        pair_N = decision_N * num_classes + labels_N
        # P(y_i | z_i), seen from each image: no K x M table, most of which would be empty.
        given_N = _times_seen(pair_N) / _times_seen(decision_N)
        return float(given_N.log().mean())


def _times_seen(values_N: Tensor) -> Tensor:
    """How often each entry's value occurs among all entries, float64 [N]."""
    _, inverse_N = torch.unique(values_N, return_inverse=True)
    return torch.bincount(inverse_N)[inverse_N].double()
