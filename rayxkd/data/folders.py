"""A folder of class folders: ``root/daisy/0001.jpg``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rayxkd.data.images import ImageSet, Labels, no_labels
from rayxkd.errors import UserError
from rayxkd.storage import Storage

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

_WANTED = {
    True: "a folder with one folder of images a class, "
    "or a Parquet file with columns 'image' and 'label'",
    False: "a folder of images, or a Parquet file with a column 'image'",
}


class FolderImageSet(ImageSet):
    """Images in class folders at any depth below; classes are sorted by name.

    Where labels are read, images beside the class folders are left out; where they are not, every
    image below the folder counts, and class folders are folders like any other.

    Raises:
        UserError: there are no images, or no class folder holds one though labels are needed.
    """

    def __init__(
        self,
        address: str,
        storage: Storage,
        files: Sequence[str],
        labels: Labels = Labels.NEEDED,
    ) -> None:
        self.address = address
        self._storage = storage
        images = [file for file in files if file.lower().endswith(IMAGE_SUFFIXES)]
        in_classes = [file for file in images if "/" in file]
        labelled = labels.are_read(present=bool(in_classes))
        self._files = in_classes if labelled else images
        if not self._files:
            raise UserError(f"{address} holds no images: give {_WANTED[labelled]}")
        self.class_names, self.labels_N = (), no_labels(len(self._files))
        if labelled:
            self.class_names, self.labels_N = _labels_of(self._files)

    def read(self, indices: Sequence[int]) -> list[bytes | None]:
        """See :meth:`ImageSet.read`."""
        return read_images(self._storage, [self._files[index] for index in indices])


def read_images(storage: Storage, files: Sequence[str]) -> list[bytes | None]:
    """Encoded images in the order of their files; ``None`` for one that cannot be read."""
    contents = storage.read_many(dict.fromkeys(files))
    found = [contents[file] for file in files]
    return [content if isinstance(content, bytes) else None for content in found]


def _labels_of(files: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Class names, and the label of each file by its first folder."""
    classes = [file.split("/", 1)[0] for file in files]
    names = tuple(sorted(set(classes)))
    place = {name: label for label, name in enumerate(names)}
    return names, np.array([place[name] for name in classes], dtype=np.int64)
