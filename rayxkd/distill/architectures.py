"""The libraries that students come from, asked only when their name is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from rayxkd.errors import UserError, unknown_name
from rayxkd.teachers.networks import NETWORKS, create_network

# These return several predictions while they train, unless they are asked not to.
_WITHOUT_AUXILIARY_HEADS = {"aux_logits": False, "init_weights": True}
_TORCHVISION_ARGS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": _WITHOUT_AUXILIARY_HEADS,
    "inception_v3": _WITHOUT_AUXILIARY_HEADS,
}


@dataclass(frozen=True)
class Library:
    """Where students come from.

    Attributes:
        names: every architecture.
        knows: whether a name is one.
        arguments: of an architecture, for images of some side and some number of channels.
        create: builds an architecture without pretrained weights.
    """

    names: Callable[[], Sequence[str]]
    knows: Callable[[str], bool]
    arguments: Callable[[str, int, int], Mapping[str, Any]]
    create: Callable[..., nn.Module]


def find_architecture(name: str) -> tuple[str, str]:
    """The library that knows a name, and its architecture.

    Args:
        name: ``LIBRARY/ARCHITECTURE``, or an architecture, looked for in the order of
            ``LIBRARIES``.

    Raises:
        UserError: none knows it, or timm is asked for and not installed.
    """
    library, slash, architecture = name.partition("/")
    if slash and library not in LIBRARIES:
        raise unknown_name("library of a student", library, LIBRARIES)
    if library == "timm" and slash and not _has_timm():
        raise UserError(f"student {name} needs timm, which is not installed: install rayxkd[timm]")
    if not slash:
        architecture = name
    for place in [library] if slash else LIBRARIES:
        if LIBRARIES[place].knows(architecture):
            return place, architecture
    raise _unknown_student(name, architecture)


def _unknown_student(name: str, architecture: str) -> UserError:
    """Timm knows more than a thousand networks: only the nearest are shown."""
    by_library = {library: source.names() for library, source in LIBRARIES.items()}
    known = dict.fromkeys(name for names in by_library.values() for name in names)
    near = get_close_matches(architecture.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return UserError(
        f"unknown student '{name}': {hint}Known: {', '.join(NETWORKS)}, and every classifier of "
        "torchvision and timm (needs rayxkd[timm])."
    )


def _our_arguments(architecture: str, side: int, channels: int) -> Mapping[str, Any]:  # noqa: ARG001
    return {"in_chans": channels}


def _torchvision_names() -> Sequence[str]:
    from torchvision import models

    names: Sequence[str] = models.list_models(module=models)
    return names


def _torchvision_arguments(architecture: str, side: int, channels: int) -> Mapping[str, Any]:
    if channels != 3:
        raise UserError(
            f"torchvision's {architecture} takes images of 3 channels, not {channels}: grey images "
            "are shown to it in three"
        )
    if architecture.startswith("vit_"):
        return {"image_size": side}
    return _TORCHVISION_ARGS.get(architecture, {})


def _create_torchvision(architecture: str, **arguments: Any) -> nn.Module:
    from torchvision import models

    network: nn.Module = models.get_model(architecture, weights=None, **arguments)
    return network


def _has_timm() -> bool:
    return importlib.util.find_spec("timm") is not None


def _timm_names() -> Sequence[str]:
    if not _has_timm():
        return ()
    import timm

    names: Sequence[str] = timm.list_models()
    return names


def _timm_knows(architecture: str) -> bool:
    if not _has_timm():
        return False
    import timm

    # Names with a scheme ('hf-hub:', 'local-dir:') are none: timm would read from elsewhere.
    return bool(timm.is_model(architecture))


def _timm_arguments(architecture: str, side: int, channels: int) -> Mapping[str, Any]:
    import timm

    arguments = {} if channels == 3 else {"in_chans": channels}
    pretrained = timm.get_pretrained_cfg(architecture)
    # Transformers are built for one size of image.
    if pretrained and pretrained.fixed_input_size and pretrained.input_size[1] != side:
        arguments["img_size"] = side
    return arguments


def _create_timm(architecture: str, **arguments: Any) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(architecture, pretrained=False, **arguments)
    return network


LIBRARIES = {
    "rayxkd": Library(
        lambda: NETWORKS, lambda name: name in NETWORKS, _our_arguments, create_network
    ),
    "torchvision": Library(
        _torchvision_names,
        lambda name: name in _torchvision_names(),
        _torchvision_arguments,
        _create_torchvision,
    ),
    "timm": Library(_timm_names, _timm_knows, _timm_arguments, _create_timm),
}
