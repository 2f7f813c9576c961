"""k-NN: can an image's class be read off its nearest neighbours in feature space?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayxkd.metrics.base import Metric, check_inputs
from rayxkd.metrics.linalg import cosine, one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from rayxkd.transport.predictions import Predictions

NEIGHBOURS = 5
ROUNDING = 1e-12  # similarities and votes that are closer than this are equal


class KNN(Metric):
    """Leave-one-out accuracy of the 5 nearest neighbours by cosine similarity of the features.

    Each image is given the class that most of the five images nearest to it have; it does not vote
    for itself. Logits stand in for the features of a teacher that shows none.

    Ties are shared, so that the score is deterministic and does not depend on the order of images
    or classes: images that are tied for the last of the five places share its vote in equal parts,
    and where several classes are tied for most votes, the true one among them earns 1 / (their
    number), the accuracy of drawing one at random. Constant features therefore score at most the
    share of the most frequent class. With fewer than six images all others are neighbours.

    Proposed as a transferability score in: Sorkhei, Matsoukas, Fredin Haslum, Smith, "k-NN as a
    Simple and Effective Estimator of Transferability", 2025, https://arxiv.org/abs/2503.18528
    """

    name = "knn"
    title = "k-NN: leave-one-out accuracy of the 5 nearest neighbours in feature space"
    higher_is_better = True
    unit = "accuracy, from 0 to 1"

    def fit(self, predictions: Predictions, labels_N: Tensor, num_classes: int) -> float:
        """Score one teacher; see :meth:`Metric.fit`."""
        check_inputs(predictions, labels_N, num_classes)
        # Leave one out: an image is not its own neighbour.
        similarity_NN = cosine(predictions.embeddings_ND).fill_diagonal_(-float("inf"))
        places = min(NEIGHBOURS, len(labels_N) - 1)
        last_N1 = similarity_NN.topk(places, dim=1).values[:, -1:]
        # Those nearer than the last place have a vote each; those tied for it share what is left.
        nearer_NN = (similarity_NN > last_N1 + ROUNDING).double()
        tied_NN = ((similarity_NN - last_N1).abs() <= ROUNDING).double()
        left_N1 = places - nearer_NN.sum(dim=1, keepdim=True)
        votes_NN = nearer_NN + tied_NN * left_N1 / tied_NN.sum(dim=1, keepdim=True)
        # Count them, and share the credit among the classes that have the most.
        count_NM = votes_NN @ one_hot(labels_N, num_classes)
        winner_NM = (count_NM >= count_NM.amax(dim=1, keepdim=True) - ROUNDING).double()
        credit_NM = winner_NM / winner_NM.sum(dim=1, keepdim=True)
        return float(credit_NM.gather(1, labels_N[:, None]).mean())
