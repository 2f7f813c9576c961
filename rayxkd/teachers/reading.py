"""Reading a teacher card: which layout it has, and where its weights are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePath

from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.card import (
    CARD_FILE,
    PICKLE_SUFFIXES,
    PREPROCESSOR_FILE,
    PYTORCH_MODEL,
    TRANSFORMERS,
    WEIGHT_FILES,
    WEIGHTS_KEY,
    RejectedCard,
    TeacherCard,
    TeacherFolder,
)
from rayxkd.teachers.entries import Entries
from rayxkd.teachers.errors import TeacherError, one_line
from rayxkd.teachers.timm_layout import read_timm
from rayxkd.teachers.transformers_layout import read_transformers

_TENSORS = ".safetensors"
Content = bytes | Exception | None


def read_card(
    folder: TeacherFolder, config: Content, preprocessor: Content = None
) -> TeacherCard | RejectedCard:
    """Make a card of a folder's listing and the content of its small files.

    Args:
        folder: the listing.
        config: the content of ``config.json``, why it cannot be read, or ``None`` where there is
            none.
        preprocessor: likewise of ``preprocessor_config.json``, which folders of transformers have.
    """
    contents = {CARD_FILE: config, PREPROCESSOR_FILE: preprocessor}
    known = {name: content for name, content in contents.items() if isinstance(content, bytes)}
    digest = _digest(known)
    try:
        for error in folder.refused.values():
            raise error
        for name, content in contents.items():
            if isinstance(content, Exception):
                reason = f"{name} cannot be read: {one_line(content)}"
                raise TeacherError(Status.INVALID, reason)
        return _parse(folder, known, digest)
    except TeacherError as error:
        failure = error
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        reason = f"{CARD_FILE} has an entry of the wrong kind: {error}"
        failure = TeacherError(Status.INVALID, reason)
    return RejectedCard(
        folder.teacher,
        folder.repository,
        failure.status,
        failure.reason,
        sum(folder.files.values()),
        digest,
    )


def _digest(contents: Mapping[str, bytes]) -> str:
    """SHA-256 of a card; of the digests of its files where there are two."""
    digests = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(":".join(digests).encode()).hexdigest()


def _parse(folder: TeacherFolder, contents: Mapping[str, bytes], digest: str) -> TeacherCard:
    entries = Entries.parse(CARD_FILE, contents.get(CARD_FILE))
    if entries.get("auto_map"):
        reason = f"{CARD_FILE} asks for code of the repository (auto_map), which is never run"
        raise TeacherError(Status.UNTRUSTED, reason)
    library = _library(entries)
    content = (
        read_transformers(entries, contents.get(PREPROCESSOR_FILE))
        if library == TRANSFORMERS
        else read_timm(entries, library)
    )
    weights = _weights_name(entries, library, folder.files)
    return TeacherCard(
        teacher=folder.teacher,
        repository=folder.repository,
        folder=folder.folder,
        library=library,
        weights_bytes=folder.files[weights],
        card_digest=digest,
        weights_version=folder.versions.get(weights, ""),
        weights_name="" if weights == WEIGHT_FILES[library] else weights,
        **vars(content),
    )


def _library(entries: Entries) -> str:
    if "architectures" in entries.values and "architecture" not in entries.values:
        return TRANSFORMERS
    library = str(entries.values.get("library_name", "timm"))
    if library not in WEIGHT_FILES:
        error = unknown_name("library_name", library, WEIGHT_FILES)
        raise TeacherError(Status.UNSUPPORTED, f"{CARD_FILE} has an {error}")
    return library


def _weights_name(entries: Entries, library: str, files: Mapping[str, int]) -> str:
    """The file that holds the weights: safetensors, or a pickled state dict where there is none."""
    wanted = WEIGHT_FILES[library]
    program = not wanted.endswith(_TENSORS)
    readable = (PurePath(wanted).suffix,) if program else (_TENSORS, *PICKLE_SUFFIXES)
    named = entries.get(WEIGHTS_KEY)
    if named is not None:
        if not isinstance(named, str) or named not in files or not named.endswith(readable):
            raise entries.invalid(f"has '{named}' as {WEIGHTS_KEY}, which its folder does not hold")
        return named
    if wanted in files:
        return wanted
    pickles = [] if program else sorted(name for name in files if name.endswith(PICKLE_SUFFIXES))
    if PYTORCH_MODEL in pickles or len(pickles) == 1:
        return PYTORCH_MODEL if PYTORCH_MODEL in pickles else pickles[0]
    if pickles:
        some = ", ".join(f"'{name}'" for name in pickles[:3])
        reason = f"the folder has several weights files, {some}: name one of them as {WEIGHTS_KEY}"
        raise TeacherError(Status.INVALID, f"{reason} in {CARD_FILE}")
    others = [name for name in files if name.endswith(".pkl")]
    if others:
        reason = f"'{others[0]}' is a pickle, which can run code when it is read"
        raise TeacherError(Status.UNTRUSTED, f"{reason}: save the weights as {wanted}")
    raise TeacherError(Status.INVALID, f"the folder has no {wanted}")
