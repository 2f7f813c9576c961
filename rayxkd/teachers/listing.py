"""Which files of a repository's listing may be read at all, decided before one is opened.

A repository is other people's files: links may lead out of it, pipes never end, and archives hold
names that no folder could. Whatever is wrong is found in the listing and becomes the row of the
folder that it is in.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers.card import WEIGHT_SUFFIXES
from rayxkd.teachers.errors import TeacherError

# A million class names take some 14 MB. Parsed, JSON may take twenty times its length in memory,
# which this keeps below half a gigabyte.
LARGEST_CARD = 16 * 1024 * 1024
_CARD_SUFFIX = ".json"
# Files that a teacher may be read from: of others nothing is asked.
_SUFFIXES = (_CARD_SUFFIX, *WEIGHT_SUFFIXES)
# Weights are nearly random numbers, which do not compress; zeros do, a thousandfold.
_LARGEST_RATIO = 200
_NEVER_A_BOMB = 16 * 1024 * 1024


def refused_files(
    storage: Storage, files: Mapping[str, Mapping[str, Any]]
) -> dict[str, TeacherError]:
    """Files of a listing that may not be read, with the reason of each.

    Args:
        storage: the repository's files.
        files: what :meth:`Storage.find` told: details by relative path.

    Returns:
        Errors by relative path; names that an archive holds beside its listing are among them.
    """
    found = {}
    for path, details in files.items():
        if path.endswith(_SUFFIXES):
            error = _refusal(storage, path, details)
            if error is not None:
                found[path] = error
    return found | _of_archive(storage)


def check_local(storage: Storage, path: Path) -> None:
    """Refuse a local file that is none, or that lies outside its repository.

    Raises:
        TeacherError: ``untrusted`` for a link out of the repository, ``invalid`` for what is not
            there or is no regular file.
    """
    target, root = os.path.realpath(path), os.path.realpath(storage.root)
    if os.path.commonpath([target, root]) != root:
        raise TeacherError(
            Status.UNTRUSTED,
            f"'{path.name}' is a link out of the repository, which is not followed: give the "
            "folder that holds both as --repository, or a copy",
        )
    try:
        mode = os.stat(target).st_mode  # noqa: PTH116 - realpath gives text
    except OSError as error:
        reason = f"'{path.name}' cannot be read: {error.strerror or 'it is not there'}"
        raise TeacherError(Status.INVALID, reason) from error
    if not stat.S_ISREG(mode):
        raise TeacherError(Status.INVALID, f"'{path.name}' is no regular file")


def _refusal(storage: Storage, path: str, details: Mapping[str, Any]) -> TeacherError | None:
    name, size = path.rpartition("/")[2], int(details.get("size") or 0)
    if ".." in path.split("/") or _leads_out(path):
        return _untrusted(f"'{path}' is a path out of the repository")
    if storage.is_local and (details.get("islink") or details.get("type") != "file"):
        try:
            check_local(storage, storage.local_path(path))
        except TeacherError as error:
            return error
    link = details.get("linkname")  # of a tar archive
    if link and _leads_out(posixpath.join(posixpath.dirname(path), link)):
        return _untrusted(f"'{name}' is a link out of the archive")
    packed = details.get("compress_size")  # of a zip archive
    if packed is not None and size > max(_NEVER_A_BOMB, _LARGEST_RATIO * packed):
        return _untrusted(f"'{name}' unpacks from {packed} to {size} bytes, as zip bombs do")
    if name.endswith(_CARD_SUFFIX) and size > LARGEST_CARD:
        return card_too_large(name, size)
    return None


def card_too_large(name: str, size: int) -> TeacherError:
    """The error for a card that would take too much memory to parse."""
    reason = f"{name} has {size} bytes: at most {LARGEST_CARD} are read"
    return TeacherError(Status.INVALID, reason)


def _of_archive(storage: Storage) -> dict[str, TeacherError]:
    """Names of an archive's members that are absolute, lead out, or are there twice."""
    found = {}
    prefix = storage.root.strip("/")
    for name, count in Counter(_members(storage.filesystem)).items():
        relative = name.strip("/")
        if prefix and not relative.startswith(f"{prefix}/") and not _leads_out(name):
            continue
        relative = relative.removeprefix(f"{prefix}/") if prefix else relative
        if not relative.endswith(_SUFFIXES):
            continue
        if _leads_out(name):
            found[relative] = _untrusted(f"the archive holds '{name}', a path out of it")
        elif count > 1:
            found[relative] = _untrusted(f"the archive holds '{name}' {count} times")
    return found


def _members(filesystem: Any) -> Iterable[str]:
    """Names as they are in the archive; none where the file system is no archive."""
    if filesystem.protocol == "zip":
        return [name for name in filesystem.zip.namelist() if not name.endswith("/")]
    if filesystem.protocol == "tar":
        return [member.name for member in filesystem.tar.getmembers() if not member.isdir()]
    return []


def _leads_out(path: str) -> bool:
    """Whether a path is absolute or leaves the folder that it is relative to."""
    if path.startswith(("/", "\\")) or "\\..\\" in f"\\{path}\\":
        return True
    return posixpath.normpath(path).split("/")[0] == ".."


def _untrusted(what: str) -> TeacherError:
    return TeacherError(Status.UNTRUSTED, f"{what}: nothing of it is read")
