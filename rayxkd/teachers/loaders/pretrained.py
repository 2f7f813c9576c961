"""Teachers of a library that loads its own weights, or draws them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.loaders.foreign import invalid_where_it_fails
from rayxkd.teachers.loaders.limits import check_finite
from rayxkd.teachers.loaders.modules import classifier_of, last_linear
from rayxkd.teachers.teacher import ModuleTeacher

_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def load_torchvision_weights(
    card: TeacherCard, weights: Path, device: torch.device
) -> ModuleTeacher:
    """An architecture of torchvision with its published weights.

    Raises:
        TeacherError: they cannot be loaded.
    """
    from torchvision import models

    del weights  # torchvision finds them in the same cache
    name = str(card.architecture)
    entry = models.get_model_weights(name)[card.model_args["weights"]]
    model = _built(card, lambda: models.get_model(name, weights=entry, progress=False))
    return ModuleTeacher(card, model, last_linear(model, card.num_classes), device)


def load_torchvision_untrained(
    card: TeacherCard, weights: Path, device: torch.device
) -> ModuleTeacher:
    """The same with random weights."""
    from torchvision import models

    name = str(card.architecture)
    # Vision transformers are made for one size of images, 224 pixels unless they are told another.
    side = {"image_size": card.preprocessing.input_size[1]} if name.startswith("vit_") else {}
    with _drawn(weights):
        model = _built(card, lambda: models.get_model(name, weights=None, **side))
    return ModuleTeacher(card, model, last_linear(model, card.num_classes), device)


def load_timm_pretrained(card: TeacherCard, weights: Path, device: torch.device) -> ModuleTeacher:
    """An architecture of timm with weights that timm itself makes fit.

    Raises:
        TeacherError: they cannot be loaded.
    """
    import timm

    # The file is given: timm asks nobody for it.
    given = {"file": str(weights)}
    model = _built(
        card,
        lambda: timm.create_model(
            str(card.architecture), pretrained=True, pretrained_cfg_overlay=given
        ),
    )
    return ModuleTeacher(card, model, classifier_of(model), device)


def load_timm_untrained(card: TeacherCard, weights: Path, device: torch.device) -> ModuleTeacher:
    """The same with random weights."""
    import timm

    channels = card.preprocessing.input_size[0]
    with _drawn(weights):
        model = _built(
            card,
            lambda: timm.create_model(
                str(card.architecture),
                pretrained=False,
                num_classes=card.num_classes,
                in_chans=channels,
            ),
        )
    return ModuleTeacher(card, model, classifier_of(model), device)


def _built(card: TeacherCard, create: Callable[[], nn.Module]) -> nn.Module:
    failing = invalid_where_it_fails(f"{card.architecture} cannot be built")
    with failing, warnings.catch_warnings(), _weights_only():
        warnings.simplefilter("ignore")
        model = create()
    check_finite(model)
    return model


@contextmanager
def _weights_only() -> Iterator[None]:
    """Have ``torch.load`` refuse whatever is no tensor, whoever calls it."""
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before


@contextmanager
def _drawn(weights: Path) -> Iterator[None]:
    """Random numbers of the seed in a file, and as before afterwards."""
    seed = int(json.loads(weights.read_text())["seed"])
    with torch.random.fork_rng(devices=[]), _RepeatedNumbers():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
        yield


class _RepeatedNumbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fills large tensors with copies of one block of random numbers.

    Torch draws them one after the other, which takes longer than a forward pass; nobody asks what
    untrained weights are in detail.
    """

    _BLOCK = 2**18
    _DRAWN = (
        torch.ops.aten.uniform_.default,
        torch.ops.aten.normal_.default,
        torch.ops.aten.erfinv_.default,  # of normal numbers that are cut at a threshold
    )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator, but on one block of the tensor where it draws."""
        whole = func not in self._DRAWN or args[0].numel() <= self._BLOCK
        if whole or not args[0].is_contiguous():
            return func(*args, **(kwargs or {}))
        flat = args[0].view(-1)
        func(flat[: self._BLOCK], *args[1:], **(kwargs or {}))
        done = self._BLOCK
        while done < len(flat):
            copied = min(done, len(flat) - done)
            flat[done : done + copied] = flat[:copied]
            done += copied
        return args[0]
