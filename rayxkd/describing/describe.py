"""Write the card of a weights file, from what it tells of itself and what is told of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rayxkd.describing.programs import PROGRAMS, read_signature
from rayxkd.describing.settings import CardSettings, Library
from rayxkd.describing.tensors import (
    Fit,
    first_difference,
    fits,
    known_architectures,
    named_in,
)
from rayxkd.errors import UserError, unknown_name
from rayxkd.teachers.card import (
    CARD_FILE,
    WEIGHT_FILES,
    WEIGHT_SUFFIXES,
    WEIGHTS_KEY,
    RejectedCard,
)
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.loaders import load_teacher
from rayxkd.teachers.loaders.safetensors_header import SafetensorsHeader
from rayxkd.teachers.loaders.state_dicts import open_weights
from rayxkd.teachers.sources import open_repositories
from rayxkd.teachers.sources.timm import default_preprocessing as of_timm
from rayxkd.teachers.sources.torchvision import default_preprocessing as of_torchvision

# Those with few architectures first.
_LIBRARIES: tuple[Library, ...] = ("rayxkd", "torchvision", "timm")
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Described:
    """A card that was written.

    Attributes:
        card: its path.
        entries: what it says.
        notes: what was guessed, and what nobody knows, in sentences.
    """

    card: Path
    entries: dict[str, Any]
    notes: tuple[str, ...]


def describe(
    file: str,
    settings: CardSettings,
    tell: Callable[[int, int], object] = lambda *_: None,
) -> Described:
    """Write a teacher card for a weights file, and load the teacher once to be sure of it.

    The card is written beside the file where the file is its folder's only one; otherwise the file
    gets a folder of its own name, with a hard link to it, or a copy where there are no links.

    Args:
        file: safetensors, a pickled state dict, a ``torch.export`` program or an ONNX file.
        settings: what is known of it.
        tell: is told how many of how many architectures have been tried.

    Raises:
        UserError: there is no such file, it has a card already, no architecture fits it, or the
            teacher cannot be loaded.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(f"there is no file {file}: give weights files")
    if not path.name.endswith(WEIGHT_SUFFIXES):
        raise UserError(
            f"{file} is no weights file: their names end in {', '.join(WEIGHT_SUFFIXES)}"
        )
    try:
        entries, notes = _entries(path, settings, tell)
        names = _label_names(settings, entries["num_classes"])
        if names:
            entries["label_names"] = names
        else:
            notes.append("the classes have no names: give --label-names where you know them")
        if settings.license:
            entries["license"] = settings.license
        card = _write(path, entries, overwrite=settings.overwrite)
    except TeacherError as error:
        raise UserError(f"{file}: {error.reason}") from error
    return Described(card, entries, tuple(notes))


def _entries(
    path: Path, settings: CardSettings, tell: Callable[[int, int], object]
) -> tuple[dict[str, Any], list[str]]:
    """What a card says, and what was guessed of it."""
    notes: list[str] = []
    if path.suffix in PROGRAMS:
        entries = {"library_name": PROGRAMS[path.suffix], **read_signature(path).entries(str(path))}
        default = entries.pop("pretrained_cfg", {})
        channels = default.get("input_size", [3])[0]
    else:
        fit, notes = _found(path, settings, tell)
        entries, default, channels = _of_fit(fit), _default_preprocessing(fit), fit.channels
    wanted = settings.preprocessing(channels, default)
    if "input_size" not in wanted:
        raise UserError(f"{path} takes images of any size: give --input-size")
    if "mean" in default and not (settings.mean and settings.std):
        notes.append("images are prepared as for the library's own weights")
    elif "mean" not in wanted:
        notes.append("mean and std are those of ImageNet: give --mean and --std if they are not")
    return {**entries, "pretrained_cfg": wanted}, notes


def _of_fit(fit: Fit) -> dict[str, Any]:
    entries = {
        "library_name": fit.library,
        "architecture": fit.architecture,
        "num_classes": fit.num_classes,
        "num_features": fit.num_features,
        "model_args": dict(fit.model_args),
    }
    return {key: value for key, value in entries.items() if value}


def _found(
    path: Path, settings: CardSettings, tell: Callable[[int, int], object]
) -> tuple[Fit, list[str]]:
    """The architecture that is told, or else the first that fits."""
    header = open_weights(path).header
    libraries = (settings.library,) if settings.library else _LIBRARIES
    if settings.architecture:
        return _told(path, header, settings, libraries), []
    named, others = [], []
    for library in libraries:
        known = known_architectures(library)
        first = named_in(path.stem, known) or named_in(path.parent.name, known)
        named.append((library, first))
        others.append((library, [name for name in known if name not in first]))
    for tried in (named, others):
        for library, names in tried:
            found = []
            for fit in fits(header, library, names, settings.arguments, tell):
                found.append(fit)
                if tried is named or len(found) > _MOST_SHOWN:
                    break
            if found:
                return found[0], _guessed(found)
    raise UserError(
        f"{path} holds {len(header.tensors)} tensors, which no architecture of "
        f"{', '.join(libraries)} has: name it with --architecture, and its arguments with "
        "--model-args"
    )


def _told(
    path: Path, header: SafetensorsHeader, settings: CardSettings, libraries: tuple[Library, ...]
) -> Fit:
    name = str(settings.architecture)
    known = {library: known_architectures(library) for library in libraries}
    having = [library for library in libraries if name in known[library]]
    if not having:
        raise unknown_name("architecture", name, [one for some in known.values() for one in some])
    for library in having:
        for fit in fits(header, library, [name], settings.arguments):
            return fit
    why = first_difference(header, having[0], name, settings.arguments)
    raise UserError(f"{path} is no {name} of {' or '.join(having)}: {why}")


def _guessed(found: list[Fit]) -> list[str]:
    first, *others = found
    also = ", ".join(fit.architecture for fit in others[:_MOST_SHOWN])
    other = f"; so do {also}" if also else ""
    return [f"{first.library}'s {first.architecture} has the same tensors{other}"]


def _default_preprocessing(fit: Fit) -> dict[str, Any]:
    """The library's own, but for colours where the file's network takes grey images."""
    if fit.library == "rayxkd":
        return {}
    default = (of_timm if fit.library == "timm" else of_torchvision)(fit.architecture)
    _, height, width = default["input_size"]
    colours = () if fit.channels == len(default["mean"]) else ("mean", "std")
    kept = {key: value for key, value in default.items() if key not in colours}
    return kept | {"input_size": [fit.channels, height, width]}


def _label_names(settings: CardSettings, num_classes: int) -> list[str]:
    if settings.label_names is None:
        return []
    try:
        lines = Path(settings.label_names).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise UserError(f"--label-names {settings.label_names} cannot be read: {error}") from error
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != num_classes:
        raise UserError(
            f"--label-names {settings.label_names} has {len(names)} names for {num_classes} classes"
        )
    return names


def _write(path: Path, entries: dict[str, Any], *, overwrite: bool) -> Path:
    """Put a card and its weights into one folder; the card stays if the teacher can be loaded."""
    weights = [one for one in path.parent.iterdir() if one.name.endswith(WEIGHT_SUFFIXES)]
    suffix = max((one for one in WEIGHT_SUFFIXES if path.name.endswith(one)), key=len)
    alone = weights == [path]
    folder = path.parent if alone else path.parent / path.name.removesuffix(suffix)
    card = folder / CARD_FILE
    if card.exists() and not overwrite:
        raise UserError(f"{card} is there already: give --overwrite to replace it")
    if path.name != WEIGHT_FILES[entries["library_name"]]:
        entries[WEIGHTS_KEY] = path.name
    folder.mkdir(exist_ok=True)
    _linked(path, folder / path.name)
    before = card.read_bytes() if card.exists() else None
    card.write_text(json.dumps(entries, indent=2, default=list) + "\n")
    try:
        _check(folder)
    except TeacherError:
        if before is None:
            card.unlink()
        else:
            card.write_bytes(before)
        raise
    return card


def _linked(path: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copy2(path, target)


def _check(folder: Path) -> None:
    """Load a teacher as a scan would.

    Raises:
        TeacherError: it cannot be loaded.
    """
    (repository,) = open_repositories([str(folder)])
    (card,) = (one for one in repository.cards() if one.teacher == repository.prefix)
    if isinstance(card, RejectedCard):
        raise TeacherError(card.status, card.reason)
    with repository.weights(card) as weights:
        load_teacher(card, weights, torch.device("cpu"))
