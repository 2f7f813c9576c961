"""Reading a teacher card: which layout it has, and where its weights are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from rayxkd.errors import unknown_name
from rayxkd.status import Status
from rayxkd.teachers.card import (
    CARD_FILE,
    PREPROCESSOR_FILE,
    TRANSFORMERS,
    WEIGHT_FILES,
    RejectedCard,
    TeacherCard,
    TeacherFolder,
)
from rayxkd.teachers.entries import Entries
from rayxkd.teachers.errors import TeacherError, one_line
from rayxkd.teachers.timm_layout import read_timm
from rayxkd.teachers.transformers_layout import read_transformers

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
    return TeacherCard(
        teacher=folder.teacher,
        repository=folder.repository,
        folder=folder.folder,
        library=library,
        weights_bytes=_weights_bytes(library, folder.files),
        card_digest=digest,
        weights_version=folder.versions.get(WEIGHT_FILES[library], ""),
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


def _weights_bytes(library: str, files: Mapping[str, int]) -> int:
    wanted = WEIGHT_FILES[library]
    if wanted in files:
        return files[wanted]
    pickles = [name for name in files if name.endswith((".bin", ".pth", ".pt", ".ckpt", ".pkl"))]
    if pickles:
        raise TeacherError(
            Status.UNTRUSTED,
            f"'{pickles[0]}' is a pickle, which can run code when it is read: "
            f"save the weights as {wanted}",
        )
    raise TeacherError(Status.INVALID, f"the folder has no {wanted}")
