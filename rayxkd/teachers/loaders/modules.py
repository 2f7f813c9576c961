"""Teachers whose architecture is built by a library, with weights from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rayxkd import __version__
from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.card import TeacherCard
from rayxkd.teachers.errors import TeacherError, one_line
from rayxkd.teachers.loaders.foreign import invalid_where_it_fails
from rayxkd.teachers.loaders.limits import build_within, check_finite
from rayxkd.teachers.loaders.state_dicts import StoredWeights, open_weights
from rayxkd.teachers.networks import NETWORKS, create_network
from rayxkd.teachers.teacher import ModuleTeacher

# Arguments that would make a library read other files or download: a card cannot set them.
_FORBIDDEN_TIMM = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "scriptable",
    "exportable",
    "no_jit",
    "num_classes",
}
_FORBIDDEN_TORCHVISION = {"weights", "weights_backbone", "progress", "num_classes"}


def load_timm(card: TeacherCard, weights: Path, device: torch.device) -> ModuleTeacher:
    """A timm architecture.

    Raises:
        TeacherError: timm is missing or does not know the architecture, the card has arguments
            that it may not have, or the weights do not fit.
    """
    try:
        import timm
    except ImportError as error:
        reason = "needs timm, which is not installed: install rayxkd[timm]"
        raise TeacherError(Status.UNSUPPORTED, reason) from error
    name = str(card.architecture)
    # Names with a scheme ('hf-hub:', 'local-dir:') would make timm read from elsewhere.
    if not timm.is_model(name):
        raise _unknown_architecture("timm", timm.__version__, name, timm.list_models())
    stored = open_weights(weights, card.weights_file)
    model = _build(card, stored, _FORBIDDEN_TIMM, partial(timm.create_model, name))
    _load_weights(model, stored)
    head = classifier_of(model)
    # timm's cards tell the width before a head that has a hidden layer of its own.
    _check_width(card, head, getattr(model, "num_features", None))
    return ModuleTeacher(card, model, head, device)


def load_torchvision(card: TeacherCard, weights: Path, device: torch.device) -> ModuleTeacher:
    """A torchvision classification architecture; raises as :func:`load_timm` does."""
    import torchvision
    from torchvision import models

    name = str(card.architecture)
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown_architecture("torchvision", torchvision.__version__, name, known)
    # Auxiliary heads (GoogLeNet, Inception) are built where the weights have them.
    stored = open_weights(weights, card.weights_file)
    model = _build(
        card, stored, _FORBIDDEN_TORCHVISION, partial(models.get_model, name, weights=None)
    )
    return _with_last_linear(card, model, stored, device)


def load_network(card: TeacherCard, weights: Path, device: torch.device) -> ModuleTeacher:
    """A network of our own; raises as :func:`load_timm` does."""
    name = str(card.architecture)
    if name not in NETWORKS:
        raise _unknown_architecture("rayxkd", __version__, name, NETWORKS)
    stored = open_weights(weights, card.weights_file)
    model = _build(card, stored, {"num_classes"}, partial(create_network, name))
    return _with_last_linear(card, model, stored, device)


def _with_last_linear(
    card: TeacherCard, model: nn.Module, stored: StoredWeights, device: torch.device
) -> ModuleTeacher:
    """A teacher with its weights, whose head is its last linear layer."""
    _load_weights(model, stored)
    head = last_linear(model, card.num_classes)
    _check_width(card, head)
    return ModuleTeacher(card, model, head, device)


def _build(
    card: TeacherCard, stored: StoredWeights, forbidden: Set[str], create: Callable[..., nn.Module]
) -> nn.Module:
    """The model, with random weights, if it is as large as its weights file says."""
    refused = sorted(forbidden & card.model_args.keys())
    if refused:
        raise TeacherError(
            Status.UNTRUSTED, f"model_args may not set {', '.join(refused)}: remove them"
        )
    arguments = {**card.model_args, "num_classes": card.num_classes}
    with invalid_where_it_fails(f"{card.architecture} cannot be built from its card"):
        return build_within(stored.header, card.architecture, lambda: create(**arguments))


def _load_weights(model: nn.Module, stored: StoredWeights) -> None:
    with invalid_where_it_fails("the weights do not fit the architecture"):
        model.load_state_dict(stored.read(), strict=True)
    check_finite(model)


def _check_width(card: TeacherCard, head: Any, *widths: object) -> None:
    """Refuse a card that tells another feature width than the model has."""
    if card.num_features is None or not isinstance(head, nn.Linear):
        return
    if card.num_features not in (head.in_features, *widths):
        reason = (
            f"its features are {head.in_features} wide; its card says num_features "
            f"{card.num_features}"
        )
        raise TeacherError(Status.INVALID, reason)


def last_linear(module: nn.Module, num_classes: int) -> nn.Linear | None:
    """The classification head: the last linear layer with one output a class."""
    matching = linear_heads(module, num_classes)
    return matching[-1] if matching else None


def linear_heads(module: nn.Module, num_classes: int) -> list[nn.Linear]:
    """The linear layers with one output a class, in the order of the network."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    return [layer for layer in layers if layer.out_features == num_classes]


def classifier_of(model: Any) -> Any:
    """The head of a network of timm; one that shows its inner features has none."""
    get_classifier = getattr(model, "get_classifier", None)
    return get_classifier and get_classifier()


def _unknown_architecture(
    library: str, version: str, name: str, known: Iterable[str]
) -> TeacherError:
    error = unknown_name(f"architecture of {library} {version}", name, known)
    return TeacherError(Status.UNSUPPORTED, one_line(error))
