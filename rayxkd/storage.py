"""Files below one root, local or remote: a thin layer over fsspec with errors one can mend."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem

from rayxkd.errors import UserError, unknown_name

# Which of our extras brings the library that a protocol needs.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hub"}


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Make an ``OSError`` of what a provider's library raises, such as for want of credentials."""
    try:
        yield
    except (OSError, UserError):
        raise
    except Exception as error:
        raise OSError(str(error)) from error


@dataclass(frozen=True)
class Storage:
    """A folder (or a single file) at a path or fsspec URL; all methods work relative to it.

    Attributes:
        url: what the user gave; local paths are made absolute.
    """

    url: str

    @classmethod
    def at(cls, address: str) -> Storage:
        """Open an address.

        Raises:
            UserError: unknown protocol, one whose library is not installed, or no connection.
        """
        protocol, path = split_protocol(address)
        if protocol is None:
            return cls(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - also removes `..`
        storage = cls(address.rstrip("/") if path.strip("/") else address)
        _ = storage._opened  # an unknown scheme is told now
        return storage

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine's own file system."""
        return isinstance(self.filesystem, LocalFileSystem)

    @property
    def name(self) -> str:
        """Last component of the root."""
        return self.root.rstrip("/").rsplit("/", 1)[-1]

    @property
    def root(self) -> str:
        """The root as its file system writes it, without the protocol."""
        return str(self._opened[1])

    def path(self, relative: str) -> str:
        """A relative path as its file system writes it."""
        return f"{self.root.rstrip('/')}/{relative}" if relative else self.root

    def url_of(self, relative: str) -> str:
        """A relative path as a full address."""
        return f"{self.url.removesuffix('/')}/{relative}" if relative else self.url

    def local_path(self, relative: str) -> Path:
        """The path of a file of local storage."""
        return Path(self.path(relative))

    @_as_os_error()
    def exists(self, relative: str = "") -> bool:
        """Whether there is a file or a folder."""
        return bool(self.filesystem.exists(self.path(relative)))

    @_as_os_error()
    def is_file(self) -> bool:
        """Whether the root is a single file."""
        return bool(self.filesystem.isfile(self.root))

    @_as_os_error()
    def find(self, folder: str = "") -> dict[str, dict[str, Any]]:
        """Every file below a folder, in order: relative path to fsspec's details, one listing."""
        root = self.root.rstrip("/")
        found = self.filesystem.find(self.path(folder), detail=True)
        return {
            path.removeprefix(root).lstrip("/"): details
            for path, details in sorted(found.items())
            if not path.endswith("/")  # an object store's marker of an empty folder is no file
        }

    @_as_os_error()
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
        # Whole files as ranges without ends: `cat` would take `[1]` in a name for a pattern.
        contents = self.filesystem.cat_ranges(
            [self.path(name) for name in names], None, None, on_error="return"
        )
        return dict(zip(names, contents, strict=True))

    @_as_os_error()
    def download(self, relative: str, target: Path) -> None:
        """Copy one file to a local path.

        Raises:
            OSError: it does not exist or cannot be read.
        """
        self.filesystem.get_file(self.path(relative), str(target))

    @_as_os_error()
    def open(self, relative: str = "", mode: str = "rb") -> Any:
        """A file object."""
        return self.filesystem.open(self.path(relative), mode)

    @_as_os_error()
    def version(self, relative: str) -> str:
        """A token that changes whenever the file changes, without reading it.

        From the file system's own marks: ETag or checksum on object stores; size, inode and times
        of modification and of change on local disks.
        """
        return str(self.filesystem.checksum(self.path(relative)))

    @_as_os_error()
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

    @_as_os_error()
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
        protocol = split_protocol(self.url.split("::")[-1])[0] or "file"
        try:
            filesystem, root = url_to_fs(self.url)
        except ValueError as error:
            if "Protocol not known" in str(error):
                raise unknown_name("address scheme", protocol, known_schemes()) from error
            raise UserError(f"cannot open {self.url}: {error}") from error
        except OSError as error:
            raise UserError(f"cannot open {self.url}: {error}") from error
        except ImportError as error:
            extra = _EXTRAS.get(protocol)
            mend = f"install rayxkd[{extra}]" if extra else str(error)
            raise UserError(f"{protocol}:// needs a library that is missing: {mend}") from error
        return filesystem, root


def known_schemes() -> list[str]:
    """Every scheme that an address may begin with."""
    return sorted({"demo", *fsspec.available_protocols()})
