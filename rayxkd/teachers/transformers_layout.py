"""Folders of transformers: ``config.json`` says what the network is and how its classes are named.

How images are prepared stands in ``preprocessor_config.json``.
"""

from __future__ import annotations

import re

from rayxkd.status import Status
from rayxkd.teachers.card import CARD_FILE, MOST_CLASSES, PREPROCESSOR_FILE, CardContent
from rayxkd.teachers.entries import Entries
from rayxkd.teachers.errors import TeacherError, shortened
from rayxkd.teachers.transformers_processors import read_processor

_CLASSIFIER = re.compile(r"[A-Za-z0-9]+ForImageClassification(WithTeacher)?")
_UNNAMED = re.compile(r"LABEL_\d+")
_CHANNELS = 3


def read_transformers(config: Entries, preprocessor: bytes | None) -> CardContent:
    """Read the two files of a folder.

    Args:
        config: entries of ``config.json``.
        preprocessor: the content of ``preprocessor_config.json``, if there is one.

    Raises:
        TeacherError: ``invalid`` or ``unsupported``.
    """
    if preprocessor is None:
        reason = f"a transformers folder needs {PREPROCESSOR_FILE}, which says how images are made"
        raise TeacherError(Status.UNSUPPORTED, reason)
    channels = config.whole("num_channels", 1, _CHANNELS, _CHANNELS)
    names = _label_names(config)
    return CardContent(
        architecture=_architecture(config),
        num_classes=len(names),
        num_features=None,
        label_names=() if all(_UNNAMED.fullmatch(name) for name in names) else names,
        model_args=config.values,
        preprocessing=read_processor(Entries.parse(PREPROCESSOR_FILE, preprocessor), channels),
        license=config.text("license"),
    )


def _architecture(config: Entries) -> str:
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    if not isinstance(name, str) or not isinstance(config.get("model_type"), str):
        raise config.invalid("names no 'architectures' and 'model_type'")
    if not _CLASSIFIER.fullmatch(name):
        reason = f"{shortened(name, 80)} is no image classifier of transformers"
        raise TeacherError(Status.UNSUPPORTED, reason)
    for key, why in (
        ("quantization_config", "its weights are quantised, which is not read"),
        ("timm_config", "its network is hidden in a wrapper: save it in timm's layout"),
    ):
        if config.get(key):
            raise TeacherError(Status.UNSUPPORTED, f"{CARD_FILE} has a '{key}': {why}")
    if config.get("problem_type") == "multi_label_classification":
        reason = "it gives several labels an image (multi_label_classification), no distribution"
        raise TeacherError(Status.UNSUPPORTED, reason)
    return name


def _label_names(config: Entries) -> tuple[str, ...]:
    """One name a class; transformers numbers those that have none, two where nothing is said."""
    names = config.inner("id2label").values
    if not names:
        count = config.whole("num_labels", 2, MOST_CLASSES, 2)
        return tuple(f"LABEL_{place}" for place in range(count))
    if not 2 <= len(names) <= MOST_CLASSES or names.keys() != {str(k) for k in range(len(names))}:
        raise config.invalid("has an 'id2label' that does not number its classes from 0 on")
    return tuple(str(names[str(place)]) for place in range(len(names)))
