"""Objectives that ask no teacher: what a student gains without one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rayxkd.distill.objectives.base import Batch, Objective, StudentSays
from rayxkd.transport.loss import UNLABELLED


class CrossEntropy(Objective):
    """Cross-entropy with the labels; images without label have no part."""

    def forward(self, student: StudentSays, batch: Batch) -> Tensor:
        """See :class:`Objective`; 0 for a batch without labels."""
        total = cross_entropy(
            student.logits_BM.float(), batch.labels_B, ignore_index=UNLABELLED, reduction="sum"
        )
        return total / batch.labelled_B.sum().clamp_min(1)


class LabelSmoothing(Objective):
    """Cross-entropy with the uniform distribution on labelled images.

    Beside plain cross-entropy with weight w that is label smoothing of w / (1 + w), but for a
    factor of 1 + w (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).
    """

    def forward(self, student: StudentSays, batch: Batch) -> Tensor:
        """See :class:`Objective`."""
        log_q_BM = torch.log_softmax(student.logits_BM.float(), dim=1)
        return -_mean_of_labelled(log_q_BM.mean(dim=1), batch)


class ConfidencePenalty(Objective):
    """Minus the entropy of the student's prediction on labelled images.

    Source: Pereyra et al. 2017, https://arxiv.org/abs/1701.06548.
    """

    def forward(self, student: StudentSays, batch: Batch) -> Tensor:
        """See :class:`Objective`."""
        log_q_BM = torch.log_softmax(student.logits_BM.float(), dim=1)
        return _mean_of_labelled((log_q_BM.exp() * log_q_BM).sum(dim=1), batch)


def _mean_of_labelled(loss_B: Tensor, batch: Batch) -> Tensor:
    labelled_B = batch.labelled_B
    return (loss_B * labelled_B).sum() / labelled_B.sum().clamp_min(1)
