"""A folder of class folders: ``root/daisy/0001.jpg``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rayxkd.data.images import ImageSet
from rayxkd.errors import UserError
from rayxkd.storage import Storage

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class FolderImageSet(ImageSet):
    """Images in class folders at any depth below; classes are sorted by name.

    Raises:
        UserError: no class folder holds an image.
    """

    def __init__(self, address: str, storage: Storage, files: Sequence[str]) -> None:
        self.address = address
        self._storage = storage
        self._files = [
            file for file in files if "/" in file and file.lower().endswith(IMAGE_SUFFIXES)
        ]
        if not self._files:
            raise UserError(
                f"{address} holds no images: give a folder with one folder of images a class, "
                "or a Parquet file with columns 'image' and 'label'"
            )
        classes = [file.split("/", 1)[0] for file in self._files]
        self.class_names = tuple(sorted(set(classes)))
        place = {name: label for label, name in enumerate(self.class_names)}
        self.labels_N = np.array([place[name] for name in classes], dtype=np.int64)

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`."""
        files = [self._files[index] for index in indices]
        contents = self._storage.read_many(files)
        found = [contents[file] for file in files]
        return [content if isinstance(content, bytes) else None for content in found]
