"""Files below one root, local or remote: a thin layer over fsspec with errors one can mend."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import fsspec
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import tokenize

from rayxkd.errors import UserError, unknown_name
from rayxkd.retries import WAITS, again_if_transient, is_transient
from rayxkd.secrets import lacks_secrets, without_secrets

# Which of our extras brings the library that a protocol needs.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hub"}

T = TypeVar("T")
P = ParamSpec("P")


def _as_os_error(
    method: Callable[Concatenate[Storage, P], T],
) -> Callable[Concatenate[Storage, P], T]:
    """Make an ``OSError`` of what a provider's library raises, such as for want of credentials.

    Secrets of the address are in no message, nor in what a traceback shows.
    """

    @wraps(method)
    def wrapped(self: Storage, /, *args: P.args, **options: P.kwargs) -> T:
        return self.told(partial(method, self), *args, **options)

    return wrapped


@dataclass(frozen=True)
class Storage:
    """A folder (or a single file) at a path or fsspec URL; all methods work relative to it.

    Attributes:
        url: what the user gave, without its secrets, to be shown and recorded; local paths are made
            absolute. :meth:`child` opens what lies below, for a ``url`` may not be opened again.
    """

    url: str
    _address: str = field(repr=False)

    @classmethod
    def at(cls, address: str) -> Storage:
        """Open an address.

        Raises:
            UserError: unknown protocol, one whose library is not installed, no connection, or an
                address that was recorded without its secrets.
        """
        protocol, path = split_protocol(address)
        if protocol is None:
            path = os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - also removes `..`
            return cls(path, path)
        if lacks_secrets(address):
            raise UserError(
                f"{address} was recorded without its credentials, which are kept nowhere, so it "
                "cannot be opened: give access by the environment (such as AWS_PROFILE or "
                "FSSPEC_HTTP) and an address that needs none"
            )
        address = address.rstrip("/") if path.strip("/") else address
        storage = cls(without_secrets(address), address)
        _ = storage._opened  # an unknown scheme is told now
        return storage

    def child(self, relative: str) -> Storage:
        """What lies at a relative path, with the same access."""
        return Storage.at(f"{self._address.removesuffix('/')}/{relative}")

    @property
    def parent(self) -> Storage:
        """The folder that holds it, with the same access."""
        own, chain, rest = self._address.partition("::")
        scheme, separator, path = own.rpartition("://")
        folder = path.rstrip("/").rpartition("/")[0]
        root = "" if separator else "/"
        return Storage.at(f"{scheme}{separator}{folder or root}{chain}{rest}")

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's own file system."""
        return isinstance(self.filesystem, LocalFileSystem)

    @property
    def name(self) -> str:
        """Last component of the root, without secrets."""
        return self._shown(self.root).rstrip("/").rsplit("/", 1)[-1]

    @property
    def root(self) -> str:
        """The root as its file system writes it, without the protocol."""
        return str(self._opened[1])

    def path(self, relative: str) -> str:
        """A relative path as its file system writes it."""
        return f"{self.root.rstrip('/')}/{relative}" if relative else self.root

    def url_of(self, relative: str) -> str:
        """A relative path as a full address, without secrets."""
        return f"{self.url.removesuffix('/')}/{relative}" if relative else self.url

    def local_path(self, relative: str) -> Path:
        """The path of a file of local storage."""
        return Path(self.path(relative))

    @_as_os_error
    def exists(self, relative: str = "") -> bool:
        """Whether there is a file or a folder."""
        return bool(self.filesystem.exists(self.path(relative)))

    @_as_os_error
    def is_file(self) -> bool:
        """Whether the root is a single file."""
        return bool(self.filesystem.isfile(self.root))

    @_as_os_error
    def find(self, folder: str = "") -> dict[str, dict[str, Any]]:
        """Every file below a folder, in order: relative path to fsspec's details, one listing."""
        root = self.root.rstrip("/")
        found = self.filesystem.find(self.path(folder), detail=True)
        return {
            path.removeprefix(root).lstrip("/"): details
            for path, details in sorted(found.items())
            if not path.endswith("/")  # an object store's marker of an empty folder is no file
        }

    @_as_os_error
    def read(self, relative: str = "") -> bytes:
        """The whole of one file.

        Raises:
            OSError: it does not exist or cannot be read.
        """
        content: bytes = self.filesystem.cat_file(self.path(relative))
        return content

    def read_many(self, relatives: Iterable[str]) -> dict[str, bytes | Exception]:
        """Many small files, at the same time where the file system can; errors are values."""
        names = list(relatives)
        found = dict(zip(names, self._read_once(names), strict=True))
        for wait in WAITS:
            failed = [name for name, one in found.items() if is_transient(one)]
            if not failed:
                break
            time.sleep(wait)
            found.update(zip(failed, self._read_once(failed), strict=True))
        return {
            name: self._as_told(one) if isinstance(one, Exception) else one
            for name, one in found.items()
        }

    def _read_once(self, names: list[str]) -> list[bytes | Exception]:
        # Whole files as ranges without ends: `cat` would take `[1]` in a name for a pattern.
        contents: list[bytes | Exception] = self.filesystem.cat_ranges(
            [self.path(name) for name in names], None, None, on_error="return"
        )
        return contents

    @_as_os_error
    def download(self, relative: str, target: Path) -> None:
        """Copy one file to a local path.

        Raises:
            OSError: it does not exist or cannot be read.
        """
        self.filesystem.get_file(self.path(relative), str(target))

    @_as_os_error
    def open(self, relative: str = "", mode: str = "rb") -> Any:
        """A file object."""
        file = self.filesystem.open(self.path(relative), mode)
        return file if self.is_local else _RemoteFile(self, file)

    @_as_os_error
    def version(self, relative: str, details: dict[str, Any] | None = None) -> str:
        """A token that changes whenever the file changes, without reading it.

        Args:
            relative: the file.
            details: what :meth:`find` said of it: then nothing is asked of the file system.

        From the file system's own marks: ETag or checksum on object stores; size, inode and times
        of modification and of change on local disks. It tells nothing of the address's secrets and
        does not change with them.
        """
        if details is None:
            details = self.filesystem.info(self.path(relative))
        if self.url == self._address:
            return _mark(details)
        return str(tokenize({name: self._shown(str(one)) for name, one in details.items()}))

    @_as_os_error
    def write(self, relative: str, content: bytes) -> None:
        """Write a file so that a reader sees the old one, the new one, or none; never a part.

        Raises:
            OSError: no space, no permission.
        """
        if not self.is_local:
            # Object stores show an object when its upload is complete.
            self.filesystem.pipe_file(self.path(relative), content)
            return
        target = self.local_path(relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    @_as_os_error
    def remove(self, relative: str) -> None:
        """Delete a file or a folder with all that is in it; nothing happens if there is none."""
        if self.exists(relative):
            self.filesystem.rm(self.path(relative), recursive=True)

    def refresh(self) -> None:
        """Forget listings that the file system keeps, so that new files are seen."""
        self.filesystem.invalidate_cache()

    @property
    def filesystem(self) -> Any:
        """The fsspec file system."""
        return self._opened[0]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            filesystem, root = url_to_fs(self._address)
        except Exception as error:  # those of a provider's library are of many kinds
            raise self._not_opened(error) from self._cause(error)
        return filesystem, root

    def _not_opened(self, error: Exception) -> UserError:
        protocol = split_protocol(self.url.split("::")[-1])[0] or "file"
        if isinstance(error, ImportError):
            extra = _EXTRAS.get(protocol)
            mend = f"install rayxkd[{extra}]" if extra else str(error)
            return UserError(f"{protocol}:// needs a library that is missing: {mend}")
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            return unknown_name("address scheme", protocol, known_schemes())
        return UserError(f"cannot open {self.url}: {self._shown(str(error))}")

    def _shown(self, text: str) -> str:
        """A message of the file system without the secrets of the address."""
        return without_secrets(text, self._address)

    def told(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """What a function of the file system returns; a remote one is asked again if it falters.

        Raises:
            OSError: whatever it raises, without secrets of the address.
        """
        try:
            if self.is_local:
                return call(*args, **options)
            return again_if_transient(partial(call, *args, **options))
        except UserError:
            raise
        except Exception as error:
            told = self._as_told(error)
            if told is error:
                raise
            raise told from self._cause(error)

    def _as_told(self, error: Exception) -> Exception:
        """An error of the file system as it may be shown: itself, or an ``OSError`` of its kind."""
        text = str(error)
        shown = self._shown(text)
        if isinstance(error, OSError) and shown == text:
            return error
        kinds = (kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
        kind: type[Exception] = next(kinds) if isinstance(error, OSError) else OSError
        return kind(shown)

    def _cause(self, error: Exception) -> Exception | None:
        """The error, unless its own text would show a secret."""
        return error if self._shown(str(error)) == str(error) else None


def _mark(details: dict[str, Any]) -> str:
    """As ``checksum`` of s3fs and of fsspec itself makes it, which leaderboards hold."""
    etag = str(details.get("ETag") or "").strip('"').split("-")[0]
    try:
        return str(int(etag, 16))
    except ValueError:
        return str(int(tokenize(details), 16))


class _RemoteFile:
    """A file object whose errors are those of its storage."""

    def __init__(self, storage: Storage, file: Any) -> None:
        self._storage, self._file = storage, file

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        return partial(self._storage.told, found) if callable(found) else found

    def __enter__(self) -> _RemoteFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def known_schemes() -> list[str]:
    """Every scheme that an address may begin with."""
    return sorted({"demo", *fsspec.available_protocols()})
