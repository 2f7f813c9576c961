"""Files of a model hub, in the cache of its own library: once a machine, checked, offline too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from rayxkd.errors import UserError
from rayxkd.offline import OFFLINE_VARIABLE, is_offline
from rayxkd.retries import again_if_transient
from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError, one_line

T = TypeVar("T")


def hub_library() -> Any:
    """The hub's library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            "hf:// needs huggingface_hub, which is not installed: install rayxkd[hub]"
        ) from error
    return huggingface_hub


def asked(call: Callable[[], T]) -> T:
    """What a function of the hub's library returns; it is called again where it falters."""
    return again_if_transient(call)


def hub_file(repository: str, names: Sequence[str], revision: str | None = None) -> Path:
    """The first of some files that a model has, as a local path.

    Args:
        repository: owner and name.
        names: of files, relative to the model.
        revision: commit, branch or tag; ``None`` is the newest, or the cached one when offline.

    Raises:
        TeacherError: none is there, or it cannot be downloaded.
    """
    hub = hub_library()
    hub.utils.disable_progress_bars()  # the scan has its own
    missing: Exception | None = None
    for name in names:
        call = partial(hub.hf_hub_download, repository, name, revision=revision)
        try:
            return Path(asked(call))
        except Exception as error:
            missing = missing or error
            if not _is_missing(error):
                raise _not_fetched(repository, name, error) from error
    assert missing is not None
    raise _not_fetched(repository, names[0], missing) from missing


def _is_missing(error: Exception) -> bool:
    from huggingface_hub.errors import EntryNotFoundError

    return isinstance(error, EntryNotFoundError)


def _not_fetched(repository: str, name: str, error: Exception) -> TeacherError:
    return TeacherError(Status.INVALID, f"'{name}' of {repository} {why(error, repository)}")


def why(error: Exception, repository: str) -> str:
    """Why the hub gave nothing, and what to do."""
    from huggingface_hub import errors

    if is_offline() or isinstance(error, errors.OfflineModeIsEnabled):
        return (
            f"is not in the hub's cache, and {OFFLINE_VARIABLE} is set: download it with "
            f"'hf download {repository}', or unset it"
        )
    # The first that fits: a gated model is one that is not found, and so on.
    for kind, told in (
        (
            errors.GatedRepoError,
            "has terms: accept them on its page, then 'hf auth login'",
        ),
        (errors.RepositoryNotFoundError, "is not on the hub, or private: see 'hf auth login'"),
        (errors.RevisionNotFoundError, "is not there at that revision"),
        (errors.LocalEntryNotFoundError, "cannot be downloaded, the hub does not answer"),
        (errors.EntryNotFoundError, "is not there"),
    ):
        if isinstance(error, kind):
            return told
    return f"cannot be downloaded: {one_line(error)}"
