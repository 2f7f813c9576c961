"""The forward pass of a teacher whose network does what networks do when they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rayxkd.status import Status
from rayxkd.teachers import Forward, ProbePixels, TeacherError, predict
from rayxkd.teachers.teacher import ModuleTeacher
from rayxkd.transport.predictions import Predictions
from tests.teachers.folders import CPU, PoolNet, assert_close, card_of, pixels_of

IMAGES = 7


class Fussy(PoolNet):
    """Raises an error for batches above a size."""

    def __init__(self, fits: int, error: Exception) -> None:
        super().__init__(returns="logits")
        self.fits, self.error = fits, error
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Any:
        self.batches.append(len(images))
        if len(images) > self.fits:
            raise self.error
        return super().forward(images)


@pytest.fixture(scope="module")
def pixels() -> ProbePixels:
    return pixels_of(IMAGES)


@pytest.fixture
def ask(program_folder: Path, pixels: ProbePixels) -> Callable[..., Predictions]:
    def run(network: PoolNet, batch_size: int | None = None) -> Predictions:
        teacher = ModuleTeacher(card_of(program_folder), network, network.head, CPU)
        return predict(teacher, pixels, Forward(batch_size))

    return run


@pytest.mark.parametrize("batch_size", [64, 7, 5, 4, 3, 2, 1])
def test_a_full_memory_halves_the_batch(ask, pool_net, batch_size):
    network = Fussy(3, torch.OutOfMemoryError("CUDA out of memory"))
    network.load_state_dict(pool_net.state_dict())
    found, expected = ask(network, batch_size), ask(pool_net_of(pool_net))
    assert_close(found.logits_NK, expected.logits_NK)
    assert_close(found.features_ND, expected.features_ND)
    assert network.batches[0] == min(batch_size, IMAGES)
    assert sum(size for size in network.batches if size <= 3) == IMAGES


def pool_net_of(network: PoolNet) -> PoolNet:
    copy = PoolNet(returns="logits")
    copy.load_state_dict(network.state_dict())
    return copy


def test_one_image_that_does_not_fit_is_out_of_memory(ask):
    network = Fussy(0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(TeacherError) as caught:
        ask(network)
    assert caught.value.status is Status.OUT_OF_MEMORY
    assert network.batches == [7, 3, 1]


def test_a_full_main_memory_is_out_of_memory(ask):
    with pytest.raises(TeacherError) as caught:
        ask(Fussy(0, MemoryError()))
    assert (caught.value.status, caught.value.reason) == (
        Status.OUT_OF_MEMORY,
        "it asked for more memory, which was refused",
    )


@pytest.mark.parametrize(
    "kind",
    [
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        AssertionError,
        NotImplementedError,
        ZeroDivisionError,
        RecursionError,
        OSError,
    ],
)
def test_a_forward_that_raises_is_invalid(ask, kind):
    with pytest.raises(TeacherError) as caught:
        ask(Fussy(0, kind("shapes\n  do not   fit" + "!" * 1000)))
    assert caught.value.status is Status.INVALID
    assert caught.value.reason.startswith("the forward pass fails: ")
    assert "shapes" in caught.value.reason
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) < 400


def test_an_interruption_goes_through(ask):
    with pytest.raises(KeyboardInterrupt):
        ask(Fussy(0, KeyboardInterrupt()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda images: torch.zeros(len(images), 4), "(7, 4); its card says 5 classes"),
        (lambda images: torch.zeros(len(images), 5, 1), "(7, 5, 1); its card says 5 classes"),
        (lambda _: torch.zeros(1, 5), "(1, 5); its card says 5 classes"),
        (lambda _: None, "NoneType; its card says 5 classes"),
        (lambda images: [[0.0] * 5] * len(images), "list; its card says 5 classes"),
        (lambda images: torch.full((len(images), 5), torch.nan), "not finite"),
        (lambda images: torch.full((len(images), 5), torch.inf), "not finite"),
    ],
)
def test_answers_that_are_no_logits_are_invalid(ask, answer, reason):
    network = PoolNet()
    network.forward = answer
    with pytest.raises(TeacherError) as caught:
        ask(network)
    assert caught.value.status is Status.INVALID
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (("a", "b", "b", "c", "d"), ("a", "b", "b", "c", "d")),
        (("a", "b"), None),
        ((), None),
    ],
)
def test_the_cards_class_names_come_along_if_there_is_one_for_each_class(
    program_folder, pixels, pool_net, names, known
):
    card = replace(card_of(program_folder), label_names=names)
    network = pool_net_of(pool_net)
    teacher = ModuleTeacher(card, network, network.head, CPU)
    assert predict(teacher, pixels).class_names == known


def test_one_image_in_a_hundred_that_is_no_number_is_enough(ask, pool_net):
    network = pool_net_of(pool_net)
    network.register_forward_hook(
        lambda *call: call[2].index_fill(0, torch.tensor([-1]), torch.nan)
    )
    with pytest.raises(TeacherError, match="not finite"):
        ask(network, batch_size=3)


def test_the_network_is_asked_as_it_was_trained_to_be_used(ask):
    """Dropout off, no gradients, answers in float32."""
    network = PoolNet(returns="logits").train()
    network.body.append(torch.nn.Dropout(0.9))
    first, second = ask(network), ask(network, batch_size=2)
    assert_close(first.logits_NK, second.logits_NK)
    assert first.logits_NK.dtype == torch.float32
    assert not first.logits_NK.requires_grad


@pytest.mark.parametrize(
    ("size", "asked", "wanted"), [(224, None, 16), (32, None, 64), (1000, None, 1), (224, 100, 100)]
)
def test_a_cpu_takes_fewer_large_images_at_once(program_folder, pool_net, size, asked, wanted):
    card = card_of(program_folder)
    wants = replace(card.preprocessing, input_size=(3, size, size))
    teacher = ModuleTeacher(replace(card, preprocessing=wants), pool_net, pool_net.head, CPU)
    assert Forward(asked).images_at_once(teacher) == wanted
