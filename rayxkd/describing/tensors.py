"""Which architecture the tensors of a file fit, by their names and shapes alone."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from rayxkd.describing.settings import Library
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders.limits import check_fits, size_limited, sketch_within
from rayxkd.teachers.loaders.modules import classifier_of, last_linear
from rayxkd.teachers.loaders.safetensors_header import SafetensorsHeader
from rayxkd.teachers.networks import NETWORKS, create_network
from rayxkd.teachers.sources.timm import size_of as size_of_timm
from rayxkd.teachers.sources.torchvision import size_of as size_of_torchvision

# Parts of the names of classification heads.
_HEAD = re.compile(r"(^|\.)(head|heads|fc|classifier|logits|last_linear|linear)(\.|$)")
_HEADS_TRIED = 3
# Buffers that are no parameters; others, and other channels of images, are within the slack.
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
_SLACK, _SLACK_NUMBERS = 0.03, 20_000
_WIDEST = 4097
# GoogLeNet and Inception are saved with the heads that helped in training, or without.
_VARIANTS: dict[str, list[dict[str, Any]]] = {
    "torchvision": [{}, {"aux_logits": False}],
    "timm": [{}],
    "rayxkd": [{}],
}
_WITH_AUXILIARY = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class Fit:
    """An architecture that has the tensors of a file.

    Attributes:
        library: who builds it.
        architecture: its name there.
        num_classes: K.
        num_features: D, where its head is linear.
        channels: of its images.
        model_args: arguments of the architecture.
    """

    library: Library
    architecture: str
    num_classes: int
    num_features: int | None
    channels: int
    model_args: Mapping[str, Any] = field(default_factory=dict)


def known_architectures(library: Library) -> list[str]:
    """Names that a library builds; none where it is not installed."""
    if library == "rayxkd":
        return list(NETWORKS)
    if library == "torchvision":
        from torchvision import models

        return list(models.list_models(module=models))
    with suppress(ImportError):
        import timm

        return list(timm.list_models())
    return []


def named_in(stem: str, architectures: Sequence[str]) -> list[str]:
    """The architectures that a file's name speaks of, the longest first."""
    text = _letters(stem)
    found = [name for name in architectures if _letters(name) in text]
    return sorted(found, key=len, reverse=True)


def fits(
    header: SafetensorsHeader,
    library: Library,
    architectures: Sequence[str],
    arguments: Mapping[str, Any],
    tell: Callable[[int, int], object] = lambda *_: None,
) -> Iterator[Fit]:
    """The architectures that have the tensors of a file and no others.

    Args:
        header: names and shapes of the tensors.
        library: who builds the architectures.
        architectures: which are tried, in this order.
        arguments: of the architectures.
        tell: is told how many of how many have been tried.
    """
    classes = _numbers_of_classes(header)
    for place, name in enumerate(architectures):
        tell(place, len(architectures))
        if not arguments and not _may_fit(header, library, name, classes):
            continue
        variants = _VARIANTS[library] if name in _WITH_AUXILIARY else [{}]
        for variant in variants:
            model_args = {**variant, **_told_by_tensors(header, library), **arguments}
            fit = _fit(header, library, name, classes, model_args)
            if fit is not None:
                yield fit
                break


def _may_fit(
    header: SafetensorsHeader, library: Library, name: str, classes: Sequence[int]
) -> bool:
    """Whether a file has about as many parameters before the head as an architecture.

    These numbers are known, or measured once a machine, which saves building hundreds of networks.
    """
    if library == "rayxkd" or name in _WITH_AUXILIARY:
        return True
    parameters, width, of_head = (size_of_timm if library == "timm" else size_of_torchvision)(name)
    held = sum(
        math.prod(tensor.shape)
        for key, tensor in header.tensors.items()
        if not key.endswith(_BUFFERS)
    )
    slack = _SLACK * parameters + _SLACK_NUMBERS
    if not width:  # anything up to the widest head that there is
        return parameters - _WIDEST * of_head - slack <= held <= parameters + slack
    body = parameters - (width + 1) * of_head
    return any(abs(held - (width + 1) * count - body) <= slack for count in classes)


def _fit(
    header: SafetensorsHeader,
    library: Library,
    name: str,
    classes: Sequence[int],
    model_args: Mapping[str, Any],
) -> Fit | None:
    for num_classes in classes:
        create = partial(_create, library, name, num_classes, model_args)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = sketch_within(header, name, create)
                if model is None:  # it computes with numbers while it is built
                    with size_limited(header, name):
                        model = create()
            check_fits(model.state_dict(), header)
        except Exception:  # whatever a library raises for arguments that it does not have
            continue
        return Fit(
            library, name, num_classes, _width(model, num_classes), _channels(header), model_args
        )
    return None


def _create(
    library: Library, name: str, num_classes: int, model_args: Mapping[str, Any]
) -> nn.Module:
    if library == "rayxkd":
        return create_network(name, num_classes, **model_args)
    if library == "torchvision":
        from torchvision import models

        built: nn.Module = models.get_model(
            name, weights=None, num_classes=num_classes, **model_args
        )
        return built
    import timm

    return timm.create_model(name, num_classes=num_classes, **model_args)


def _told_by_tensors(header: SafetensorsHeader, library: Library) -> dict[str, int]:
    """Arguments of an architecture that shapes tell."""
    channels = _channels(header)
    told = {} if channels == 3 or library == "torchvision" else {"in_chans": channels}
    stem = header.tensors.get("stem.0.weight")
    if library == "rayxkd" and stem is not None and stem.shape:
        told["width"] = stem.shape[0]
    return told


def _channels(header: SafetensorsHeader) -> int:
    """Channels of the images; convolutions of one channel may be depthwise ones."""
    found = {tensor.shape[1] for tensor in header.tensors.values() if len(tensor.shape) == 4}
    return 1 if 1 in found and 3 not in found else 3


def _numbers_of_classes(header: SafetensorsHeader) -> list[int]:
    """Numbers of classes that the file may have, the likeliest first."""
    matrices = {
        name: tensor.shape[0]
        for name, tensor in header.tensors.items()
        if len(tensor.shape) in (2, 4) and name.endswith("weight")
    }
    heads = [rows for name, rows in matrices.items() if _HEAD.search(name)]
    likely = [*reversed(heads), *reversed([*matrices.values()])]
    return list(dict.fromkeys(rows for rows in likely if rows >= 2))[:_HEADS_TRIED]


def _width(model: Any, num_classes: int) -> int | None:
    of_timm = hasattr(model, "get_classifier")
    head = classifier_of(model) if of_timm else last_linear(model, num_classes)
    return int(head.in_features) if isinstance(head, nn.Linear) else None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def first_difference(
    header: SafetensorsHeader, library: Library, name: str, arguments: Mapping[str, Any]
) -> str:
    """Why an architecture that the user names does not fit."""
    num_classes = (_numbers_of_classes(header) or [1000])[0]
    model_args = {**_told_by_tensors(header, library), **arguments}
    create = partial(_create, library, name, num_classes, model_args)
    try:
        model = sketch_within(header, name, create)
        check_fits(model.state_dict() if model else {}, header)
    except TeacherError as error:
        return error.reason
    except Exception as error:
        return f"{name} cannot be built: {error}"
    return "it fits"
