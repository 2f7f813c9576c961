"""What the transport loss adds to a training step, in time and in memory.

Run: ``uv run python tests/benchmarks/transport_loss.py [--device cuda]``

A ResNet-18 learns 10 classes from random images of 64 x 64 pixels (their content does not change
the time of a step) beside a teacher of 1,000 classes. Steps with cross-entropy alone and with each
form of the loss take turns, and the median ratio is printed. Memory is what autograd keeps for the
backward pass of the loss, counted tensor by tensor, against an unrolled loop of equally many
iterations.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from rayxkd.transport import TransportLoss
from rayxkd.transport.loss import FORMS

_BATCH, _SIDE, _TEACHER, _TARGET = 128, 64, 1_000, 10
_EPSILON = 0.5


class Setting:
    """A student, a batch, and what a teacher says of it."""

    def __init__(self, device: torch.device) -> None:
        from torchvision.models import resnet18

        torch.manual_seed(0)
        self.device = device
        self.student = resnet18(num_classes=_TARGET).to(device)
        self.images = torch.randn(_BATCH, 3, _SIDE, _SIDE, device=device)
        self.labels = torch.randint(_TARGET, (_BATCH,), device=device)
        # About as sure as an ImageNet teacher: a tenth of the classes hold most of the mass.
        self.teacher = 2 * torch.randn(_BATCH, _TEACHER, device=device)
        self.cost_KM = 5 * torch.rand(_TEACHER, _TARGET, device=device)
        self.optimiser = torch.optim.SGD(self.student.parameters(), lr=1e-3, momentum=0.9)

    def seconds_of_a_step(self, loss: TransportLoss | None) -> float:
        self.synchronise()
        start = time.perf_counter()
        self.optimiser.zero_grad()
        logits = self.student(self.images)
        total = nn.functional.cross_entropy(logits, self.labels)
        if loss is not None:
            total = total + loss(logits, self.teacher)
        total.backward()
        self.optimiser.step()
        self.synchronise()
        return time.perf_counter() - start

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def unrolled_cost(source: Tensor, target: Tensor, cost: Tensor, iterations: int) -> Tensor:
    """Entropic transport whose iterations autograd records."""
    kernel = torch.exp(-cost / _EPSILON)
    v = torch.ones_like(target)
    for _ in range(iterations):
        u = source / (v @ kernel.T)
        v = target / (u @ kernel)
    return ((u @ (kernel * cost)) * v).sum(dim=1).mean()


def kept_bytes(compute: Callable[[], Tensor]) -> int:
    """What autograd keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute()
    result.backward()
    return sum(kept.values())


def measure_steps(setting: Setting, form: str, rounds: int) -> tuple[float, float]:
    """Median seconds of a plain step, and median ratio of a step with the loss to it."""
    loss = TransportLoss(setting.cost_KM, form=form, epsilon=_EPSILON).to(setting.device)
    for warm in (None, loss):
        setting.seconds_of_a_step(warm)
    plain, ratios = [], []
    for _ in range(rounds):
        plain.append(setting.seconds_of_a_step(None))
        ratios.append(setting.seconds_of_a_step(loss) / plain[-1])
    return statistics.median(plain), statistics.median(ratios)


def iterations_of(loss: TransportLoss, setting: Setting, logits: Tensor) -> int:
    """The fewest iterations after which the loss has converged."""
    from rayxkd.transport import entropic_transport

    p, q = torch.softmax(setting.teacher, dim=1), torch.softmax(logits, dim=1)
    count = 5
    while count < loss.max_iterations:
        answer = entropic_transport(
            p, q, loss.cost_KM, epsilon=_EPSILON, tolerance=loss.tolerance, max_iterations=count
        )
        if float(answer.marginal_error_N.max()) <= loss.tolerance:
            break
        count += 5
    return count


def measure_memory(setting: Setting) -> tuple[int, int, int]:
    """Iterations, and the bytes that our loss and an unrolled one keep."""
    loss = TransportLoss(setting.cost_KM, form="entropic", epsilon=_EPSILON).to(setting.device)
    logits = torch.randn(_BATCH, _TARGET, device=setting.device, requires_grad=True)
    iterations = iterations_of(loss, setting, logits.detach())
    source = torch.softmax(setting.teacher, dim=1)
    ours = kept_bytes(lambda: loss(logits, setting.teacher))
    theirs = kept_bytes(
        lambda: unrolled_cost(source, torch.softmax(logits, dim=1), setting.cost_KM, iterations)
    )
    return iterations, ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    setting = Setting(torch.device(arguments.device))
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else platform.machine()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {name}, {arguments.threads} threads, torch "
        f"{torch.__version__}: ResNet-18, {_SIDE} px, batch {_BATCH}, K {_TEACHER}, M {_TARGET}\n"
    )
    print("| form | cross-entropy alone | with the loss |\n|---|---|---|")
    for form in FORMS:
        seconds, ratio = measure_steps(setting, form, arguments.rounds)
        print(f"| {form} | {seconds * 1e3:.0f} ms | {(ratio - 1) * 100:+.1f} % |")
    iterations, ours, theirs = measure_memory(setting)
    print(
        f"\nkept for the backward pass at {iterations} iterations: {ours / 2**20:.2f} MiB, "
        f"unrolled {theirs / 2**20:.1f} MiB: {theirs / ours:.0f} times as much"
    )


if __name__ == "__main__":
    main()
