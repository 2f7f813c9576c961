"""Files that can be made again, kept on this machine up to a size and shared by its processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

CACHE_VARIABLE = "RAYXKD_CACHE"
_GIBIBYTE = 2**30
_LIMIT = 20 * _GIBIBYTE
# Processes that make different files seldom wait for one another.
_LOCKS = 64
_ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class LocalCache:
    """A folder of files, the least recently used of which are removed once there are too many.

    Attributes:
        folder: where they lie; made when it is needed.
        limit: bytes that they take at most, but for those in use.
    """

    folder: Path
    limit: int = _LIMIT

    @classmethod
    def of_user(cls, kind: str) -> LocalCache:
        """That of this user for one kind of files, below ``RAYXKD_CACHE`` if that is set.

        It takes no more than 20 GiB, and no more than half of what is free on its disk.
        """
        base = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_path("rayxkd")
        folder = Path(base) / kind
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        return cls(folder, min(_LIMIT, shutil.disk_usage(folder).free // 2))

    @contextmanager
    def file(self, key: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """The file of a key, which is made by one process if it is not there.

        Within the context it has a name of its own, so it may be removed from the cache meanwhile.

        Args:
            key: whatever its content depends on.
            make: writes the content to a path.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.kept"
        own = self.folder / f"{uuid.uuid4().hex}.used"
        try:
            if not _link(kept, own):
                lock = self.folder / f"{int(kept.stem[:8], 16) % _LOCKS}.lock"
                with FileLock(lock):
                    if not _link(kept, own):  # another process made it meanwhile
                        make(own)
                        self._keep(own, kept)
            yield own
        finally:
            own.unlink(missing_ok=True)

    def _keep(self, own: Path, kept: Path) -> None:
        if own.stat().st_size <= self.limit:
            self._make_room(own.stat().st_size)
            with suppress(OSError):  # a file system without links keeps nothing
                os.link(own, kept)

    def _make_room(self, size: int) -> None:
        """Remove files until there is room for one more."""
        entries = []
        for path in self.folder.glob("*.kept"):
            with suppress(FileNotFoundError):
                entries.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        total = size + sum(taken for _, taken, _ in entries)
        for _, taken, path in sorted(entries):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= taken


def _remove_abandoned(folder: Path) -> None:
    """What processes that were killed left behind."""
    for path in folder.glob("*.used"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_ctime > _ABANDONED_SECONDS:
                path.unlink()


def _link(kept: Path, own: Path) -> bool:
    """Give a file that is kept one more name, and note that it was used."""
    try:
        os.link(kept, own)
        os.utime(kept)
    except OSError:
        return own.exists()
    return True
