"""What workers share, for processes that cannot read Ray's object store."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayxkd.cache import LocalCache

# Smaller arrays stay where they are.
_LARGE = 1 << 16
# Where each begins in the file: enough for any type of numbers.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Parcel:
    """Objects, and apart from them their large arrays, which all processes of a machine share.

    Attributes:
        pickled: the objects.
        arrays: bytes of the large arrays in the order in which they were met.
        digest: SHA-256 over them.
    """

    pickled: bytes
    arrays: tuple[NDArray[np.uint8], ...]
    digest: str

    @classmethod
    def of(cls, content: Any) -> Parcel:
        """Pack an object; classes that nobody can import travel with it."""
        from ray import cloudpickle

        arrays: list[NDArray[np.uint8]] = []

        def keep_inside(buffer: pickle.PickleBuffer) -> bool:
            array = np.frombuffer(buffer.raw(), dtype=np.uint8)
            if len(array) >= _LARGE:
                arrays.append(array)
            return len(array) < _LARGE

        dumps: Any = cloudpickle.dumps
        pickled = dumps(content, protocol=5, buffer_callback=keep_inside)
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(f"{len(array)}:".encode())
            digest.update(array.data)
        return cls(pickled, tuple(arrays), digest.hexdigest())

    @contextmanager
    def on_disk(self) -> Iterator[Packed]:
        """The same with its arrays in a file of the user's cache, made once a machine.

        Whoever opens it must do so within the context, and may use it as long as he likes.
        """
        sizes = tuple(len(array) for array in self.arrays)
        if not sizes:
            yield Packed(self.pickled, None, ())
            return
        with LocalCache.of_user("shared").file(self.digest, self._write) as path:
            yield Packed(self.pickled, path, sizes)

    def _write(self, path: Path) -> None:
        with path.open("wb") as file:
            for array in self.arrays:
                file.seek(_aligned(file.tell()))
                file.write(array.data)


@dataclass(frozen=True)
class Packed:
    """A parcel whose arrays lie in a file.

    Attributes:
        pickled: the objects.
        path: the file; ``None`` where there is no large array.
        sizes: of the arrays, in bytes.
    """

    pickled: bytes
    path: Path | None
    sizes: Sequence[int]

    def mapped(self) -> Mapped:
        """Open the file; what is not read takes no memory."""
        if self.path is None:
            return Mapped(self.pickled, ())
        content, views, start = np.memmap(self.path, dtype=np.uint8, mode="r"), [], 0
        for size in self.sizes:
            start = _aligned(start)
            views.append(content[start : start + size])
            start += size
        return Mapped(self.pickled, tuple(views))


@dataclass(frozen=True)
class Mapped:
    """A parcel that this process, and those that it forks, can open.

    Attributes:
        pickled: the objects.
        arrays: bytes of the large ones.
    """

    pickled: bytes
    arrays: tuple[NDArray[np.uint8], ...]

    def open(self) -> Any:
        """The object; its large arrays are read where they lie, and cannot be written."""
        return pickle.loads(self.pickled, buffers=self.arrays)


def _aligned(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT
