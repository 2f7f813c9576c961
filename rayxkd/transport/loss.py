"""Transport as a training objective: logits of student and teacher in, a scalar out.

Legend: N images, K teacher classes, M target classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rayxkd.errors import unknown_name
from rayxkd.transport.entropic import entropic_transport

FORMS = ("expected", "target", "entropic")
REDUCTIONS = ("mean", "sum", "none")
UNLABELLED = -1


class TransportLoss(nn.Module):
    """What it costs to move a teacher's prediction to a student's (ours).

    With p = softmax(teacher / temperature), q = softmax(student / student_temperature), the mapped
    prediction t = softmax(-C'p / epsilon), and H the entropy:

    - ``expected``: <q, C'p> - epsilon H(q), expected transport cost with entropy. It is
      epsilon KL(q | t) up to a constant in q: least at q = t.
    - ``target``: KL(t | q), the divergence to that minimiser; ordinary distillation of t.
    - ``entropic``: the entropic transport cost of :func:`entropic_transport`, with penalties if
      asked for; its gradient in q is the dual potential.

    Labels are not needed: unlabelled images teach as well. Everything is computed in float32 (or
    float64, if the logits are), under autocast too, on the device of the logits. The cost is a
    buffer that follows the module and is saved with it.

    A student that is trained with a transport term alone may also gain from its smoothing: compare
    with a cost whose rows are permuted.

    Attributes:
        cost_KM: the ground cost.

    Args:
        cost_KM: ground cost, finite.
        form: see above.
        epsilon: in units of the cost. With a learned or co-occurrence cost, which are in nats, 1
            is the natural choice.
        temperature: of the teacher's softmax; take the one that the cost was fitted with.
        student_temperature: of the student's softmax.
        reduction: ``mean``, ``sum`` or ``none`` ([N]).
        class_weights_M: weight of an image of each target class, not negative. An image without
            label weighs what its mapped prediction t expects. ``mean`` divides by the sum of the
            weights, as torch's cross-entropy does.
        source_penalty: for ``entropic``: the teacher's marginal need not be met.
        tolerance: for ``entropic``: marginal error at which a sample has converged.
        max_iterations: for ``entropic``.

    Raises:
        UserError: an unknown form or reduction.
        ValueError: a cost that is no finite matrix, weights that do not fit, numbers that are not
            positive, a penalty with another form.
    """

    cost_KM: Tensor
    class_weights_M: Tensor | None

    def __init__(
        self,
        cost_KM: Tensor,
        *,
        form: str = "expected",
        epsilon: float = 1.0,
        temperature: float = 1.0,
        student_temperature: float = 1.0,
        reduction: str = "mean",
        class_weights_M: Tensor | None = None,
        source_penalty: float = math.inf,
        tolerance: float = 1e-4,
        max_iterations: int = 1_000,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise unknown_name("form of the transport loss", form, FORMS)
        if reduction not in REDUCTIONS:
            raise unknown_name("reduction", reduction, REDUCTIONS)
        if cost_KM.ndim != 2 or not bool(torch.isfinite(cost_KM).all()):
            raise ValueError(f"the cost must be a finite matrix, not {tuple(cost_KM.shape)}")
        positive = (epsilon, temperature, student_temperature, source_penalty)
        if not all(number > 0 for number in positive):
            raise ValueError(f"epsilon, temperatures and penalty must be positive: {positive}")
        if math.isfinite(source_penalty) and form != "entropic":
            raise ValueError(f"the form '{form}' has no marginal to relax: use 'entropic'")
        _check_weights(class_weights_M, cost_KM.shape[1])
        self.register_buffer("cost_KM", cost_KM.detach().clone())
        self.register_buffer("class_weights_M", class_weights_M)
        self.form, self.reduction = form, reduction
        self.epsilon, self.source_penalty = epsilon, source_penalty
        self.temperature, self.student_temperature = temperature, student_temperature
        self.tolerance, self.max_iterations = tolerance, max_iterations

    def forward(
        self,
        student_logits_NM: Tensor,
        teacher_logits_NK: Tensor,
        labels_N: Tensor | None = None,
    ) -> Tensor:
        """The loss.

        Args:
            student_logits_NM: any floating dtype.
            teacher_logits_NK: likewise; usually without gradient.
            labels_N: int64 in [0, M), or -1 for an image without label; only class weights look
                at them.
        """
        with torch.autocast(student_logits_NM.device.type, enabled=False):
            student_NM, teacher_NK = _at_least_float32(student_logits_NM, teacher_logits_NK)
            source_NK = torch.softmax(teacher_NK / self.temperature, dim=1)
            log_q_NM = torch.log_softmax(student_NM / self.student_temperature, dim=1)
            cost_KM = self.cost_KM.to(source_NK)
            expected_NM = source_NK @ cost_KM
            loss_N = self._losses(source_NK, log_q_NM, cost_KM, expected_NM)
            return self._reduce(loss_N, expected_NM, labels_N)

    def mapped(self, teacher_logits_NK: Tensor) -> Tensor:
        """The mapped prediction t = softmax(-C'p / epsilon), [N, M]."""
        (teacher_NK,) = _at_least_float32(teacher_logits_NK)
        source_NK = torch.softmax(teacher_NK / self.temperature, dim=1)
        return torch.softmax(-source_NK @ self.cost_KM.to(source_NK) / self.epsilon, dim=1)

    def extra_repr(self) -> str:
        """Shape and settings, for ``repr``."""
        return (
            f"{self.cost_KM.shape[0]} -> {self.cost_KM.shape[1]}, form={self.form}, "
            f"epsilon={self.epsilon:g}, temperature={self.temperature:g}"
        )

    def _losses(
        self, source_NK: Tensor, log_q_NM: Tensor, cost_KM: Tensor, expected_NM: Tensor
    ) -> Tensor:
        if self.form == "expected":
            return (log_q_NM.exp() * (expected_NM + self.epsilon * log_q_NM)).sum(dim=1)
        if self.form == "target":
            log_t_NM = torch.log_softmax(-expected_NM / self.epsilon, dim=1)
            return (log_t_NM.exp() * (log_t_NM - log_q_NM)).sum(dim=1)
        return entropic_transport(
            source_NK,
            log_q_NM.exp(),
            cost_KM,
            epsilon=self.epsilon,
            source_penalty=self.source_penalty,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        ).value_N

    def _reduce(self, loss_N: Tensor, expected_NM: Tensor, labels_N: Tensor | None) -> Tensor:
        if self.class_weights_M is None:
            weight_N = torch.ones_like(loss_N)
        else:
            weight_N = self._weights(self.class_weights_M.to(loss_N), expected_NM, labels_N)
        if self.reduction == "none":
            return weight_N * loss_N
        total = (weight_N * loss_N).sum()
        return total if self.reduction == "sum" else total / weight_N.sum()

    def _weights(
        self, class_weights_M: Tensor, expected_NM: Tensor, labels_N: Tensor | None
    ) -> Tensor:
        mapped_NM = torch.softmax(-expected_NM.detach() / self.epsilon, dim=1)
        guessed_N = mapped_NM @ class_weights_M
        if labels_N is None:
            return guessed_N
        return torch.where(
            labels_N == UNLABELLED, guessed_N, class_weights_M[labels_N.clamp_min(0)]
        )


def _check_weights(class_weights_M: Tensor | None, num_classes: int) -> None:
    if class_weights_M is None:
        return
    fits = class_weights_M.shape == (num_classes,)
    if not fits or not bool((class_weights_M >= 0).all()) or not bool(class_weights_M.any()):
        raise ValueError(f"class weights must be {num_classes} numbers that are not negative")


def _at_least_float32(*logits: Tensor) -> tuple[Tensor, ...]:
    double = any(one.dtype == torch.float64 for one in logits)
    return tuple(one.double() if double else one.float() for one in logits)
