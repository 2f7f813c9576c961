"""Transport as a training objective."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rayxkd.errors import UserError
from rayxkd.transport import TransportLoss
from rayxkd.transport.loss import FORMS

N, K, M = 16, 30, 5


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Student logits, teacher logits, cost."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(N, M, generator=generator).requires_grad_()
    return (
        student,
        torch.randn(N, K, generator=generator) * 3,
        torch.rand(K, M, generator=generator) * 4,
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_least_at_its_minimiser(form: str, batch: tuple[Tensor, ...]) -> None:
    _, teacher, cost_KM = batch
    loss = TransportLoss(cost_KM.double(), form=form, epsilon=0.5, temperature=2.0, tolerance=1e-9)
    logits = torch.zeros(N, M, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-10)

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(logits, teacher)
        value.backward()
        return value

    optimiser.step(closure)
    if form != "entropic":  # the entropic cost is least where all mass takes its cheapest way
        torch.testing.assert_close(
            torch.softmax(logits, dim=1), loss.mapped(teacher).double(), rtol=1e-3, atol=1e-4
        )
    else:
        source = torch.softmax(teacher.double() / 2.0, dim=1)
        nearest = torch.zeros(K, M).double()
        nearest[torch.arange(K), cost_KM.argmin(dim=1)] = 1
        cheapest_N = (source @ (nearest * cost_KM)).sum(dim=1)
        assert loss(logits, teacher).item() >= float(cheapest_N.mean()) - 1e-6


def test_expected_is_the_divergence_to_the_mapped_prediction(batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    loss = TransportLoss(cost_KM, epsilon=0.7, reduction="none")
    mapped, q = loss.mapped(teacher), torch.softmax(student, dim=1)
    divergence = 0.7 * (q * (q.log() - mapped.log())).sum(dim=1)
    constant = (loss(student, teacher) - divergence).detach()
    expected = torch.softmax(teacher, dim=1) @ cost_KM
    torch.testing.assert_close(
        constant, -0.7 * torch.logsumexp(-expected / 0.7, dim=1), rtol=1e-4, atol=1e-5
    )


def test_target_is_the_other_divergence(batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    loss = TransportLoss(cost_KM, form="target", epsilon=0.7)
    expected = nn.functional.kl_div(
        torch.log_softmax(student, dim=1), loss.mapped(teacher), reduction="batchmean"
    )
    torch.testing.assert_close(loss(student, teacher), expected)


def test_entropic_gradient_is_the_dual_potential(batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    from rayxkd.transport import entropic_transport

    TransportLoss(cost_KM, form="entropic", epsilon=0.5, reduction="sum")(
        student, teacher
    ).backward()
    q = torch.softmax(student.detach(), dim=1)
    g = entropic_transport(
        torch.softmax(teacher, dim=1), q, cost_KM, epsilon=0.5
    ).target_potential_NM
    expected = q * (g - (q * g).sum(dim=1, keepdim=True))
    torch.testing.assert_close(student.grad, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_reductions_and_class_weights(form: str, batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    weights = torch.tensor([1.0, 0.0, 2.0, 1.0, 5.0])
    labels = torch.arange(N) % M
    plain = TransportLoss(cost_KM, form=form, reduction="none")(student, teacher)
    assert plain.shape == (N,)
    for reduction, expected in {
        "none": weights[labels] * plain,
        "sum": (weights[labels] * plain).sum(),
        "mean": (weights[labels] * plain).sum() / weights[labels].sum(),
    }.items():
        loss = TransportLoss(cost_KM, form=form, reduction=reduction, class_weights_M=weights)
        torch.testing.assert_close(loss(student, teacher, labels), expected)
    mean = TransportLoss(cost_KM, form=form)(student, teacher)
    torch.testing.assert_close(mean, plain.mean())


def test_an_image_without_label_weighs_what_its_mapped_prediction_expects(
    batch: tuple[Tensor, ...],
) -> None:
    student, teacher, cost_KM = batch
    weights = torch.tensor([1.0, 0.0, 2.0, 1.0, 5.0])
    loss = TransportLoss(cost_KM, reduction="none", class_weights_M=weights)
    plain = TransportLoss(cost_KM, reduction="none")(student, teacher)
    guessed = loss.mapped(teacher) @ weights
    torch.testing.assert_close(loss(student, teacher), guessed * plain)
    labels = torch.full((N,), -1)
    labels[3] = 4
    mixed = loss(student, teacher, labels)
    torch.testing.assert_close(mixed[3], 5.0 * plain[3])
    torch.testing.assert_close(mixed[4:], (guessed * plain)[4:])


@pytest.mark.parametrize("form", FORMS)
def test_autocast_computes_in_float32(form: str, batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    loss = TransportLoss(cost_KM, form=form, epsilon=0.5)
    half = (student.detach().bfloat16(), teacher.bfloat16())
    expected = loss(*(one.float() for one in half))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(*half)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("form", FORMS)
def test_it_compiles_without_a_graph_break(form: str, batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    loss = TransportLoss(cost_KM, form=form, epsilon=0.5)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value = compiled(student, teacher)
    torch.testing.assert_close(value, loss(student, teacher))
    (gradient,) = torch.autograd.grad(value, student)
    (expected,) = torch.autograd.grad(loss(student, teacher), student)
    torch.testing.assert_close(gradient, expected)


def test_the_cost_is_saved_and_moved_with_the_module(batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    loss = TransportLoss(cost_KM)
    other = TransportLoss(torch.zeros_like(cost_KM))
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other(student, teacher), loss(student, teacher))
    assert loss.double().cost_KM.dtype == torch.float64
    assert not list(loss.parameters())


def _train(rank: int, ranks: int, folder: str, queue: Any) -> None:
    """Two steps of data-parallel training; every rank has its share of the batch."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks
    )
    student = nn.parallel.DistributedDataParallel(nn.Linear(8, M))
    loss = TransportLoss(torch.rand(K, M), form="entropic", epsilon=0.5)
    images, teacher = torch.randn(N, 8), torch.randn(N, K)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.5)
    for _ in range(2):
        optimiser.zero_grad()
        loss(student(images[rank::ranks]), teacher[rank::ranks]).backward()
        optimiser.step()
    queue.put((rank, student.module.weight.detach().numpy()))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_data_parallel_training_is_that_of_one_process(tmp_path: Path) -> None:
    weights: dict[int, dict[int, Tensor]] = {}
    context = torch.multiprocessing.get_context("spawn")
    for ranks in (1, 2):
        folder, queue = tmp_path / str(ranks), context.SimpleQueue()
        folder.mkdir()
        processes = [
            context.Process(target=_train, args=(rank, ranks, str(folder), queue))
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        found = dict(queue.get() for _ in range(ranks))
        weights[ranks] = {rank: torch.from_numpy(weight) for rank, weight in found.items()}
    torch.testing.assert_close(weights[2][0], weights[2][1])
    torch.testing.assert_close(weights[2][0], weights[1][0], rtol=1e-4, atol=1e-6)


def test_a_student_learns_the_task_from_transport_alone() -> None:
    """Real data: iris without labels; the permuted cost is the control."""
    from sklearn.datasets import load_iris

    features, labels = load_iris(return_X_y=True)
    images = torch.from_numpy(features).float()
    images = (images - images.mean(dim=0)) / images.std(dim=0)
    truth = torch.from_numpy(labels)
    # A teacher with six classes: two for each species.
    teacher = (nn.functional.one_hot(truth * 2 + torch.arange(150) % 2, 6) * 4).float()
    cost_KM = 2.0 - 2.0 * torch.eye(3).repeat_interleave(2, dim=0)
    accuracies = []
    for rows in (torch.arange(6), torch.tensor([3, 0, 5, 1, 2, 4])):
        torch.manual_seed(0)
        student = nn.Linear(4, 3)
        loss = TransportLoss(cost_KM[rows], epsilon=0.3)
        optimiser = torch.optim.Adam(student.parameters(), lr=0.05)
        for _ in range(200):
            optimiser.zero_grad()
            loss(student(images), teacher).backward()
            optimiser.step()
        accuracies.append(float((student(images).argmax(dim=1) == truth).float().mean()))
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.6


def test_bad_settings_are_refused(batch: tuple[Tensor, ...]) -> None:
    cost_KM = batch[2]
    with pytest.raises(UserError, match="did you mean 'expected'"):
        TransportLoss(cost_KM, form="expect")
    with pytest.raises(UserError, match="did you mean 'mean'"):
        TransportLoss(cost_KM, reduction="means")
    with pytest.raises(ValueError, match="finite matrix"):
        TransportLoss(cost_KM / 0)
    with pytest.raises(ValueError, match="must be positive"):
        TransportLoss(cost_KM, temperature=0.0)
    with pytest.raises(ValueError, match="no marginal to relax"):
        TransportLoss(cost_KM, source_penalty=1.0)
    with pytest.raises(ValueError, match="class weights must be 5"):
        TransportLoss(cost_KM, class_weights_M=torch.ones(4))


def test_it_can_be_copied(batch: tuple[Tensor, ...]) -> None:
    student, teacher, cost_KM = batch
    loss = TransportLoss(cost_KM, form="entropic")
    torch.testing.assert_close(copy.deepcopy(loss)(student, teacher), loss(student, teacher))
    assert "form=entropic" in repr(loss)
