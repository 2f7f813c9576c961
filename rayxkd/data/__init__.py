"""Image sets, probe sets and vectors of class names."""

from __future__ import annotations

import re

from rayxkd.data.digits import DEMO_SCHEME, DigitImageSet
from rayxkd.data.encoded import EncodedImages, ImageBuffer, image_digests, read_encoded
from rayxkd.data.folders import IMAGE_SUFFIXES, FolderImageSet
from rayxkd.data.images import ImageSet
from rayxkd.data.parquet import ParquetImageSet
from rayxkd.data.probe import ProbeSet, sample_probe_set
from rayxkd.data.vectors import ClassVectors, read_class_vectors
from rayxkd.errors import UserError
from rayxkd.storage import Storage

__all__ = [
    "ClassVectors",
    "EncodedImages",
    "ImageBuffer",
    "ImageSet",
    "ProbeSet",
    "image_digests",
    "open_image_set",
    "read_class_vectors",
    "read_encoded",
    "sample_probe_set",
]

# What follows a split's name: `-00000-of-00004`, `-0`, `-00000-<uuid>`, or a number alone.
_SHARD_NUMBER = re.compile(r"(^|[-_/])(\d+|\d{4,}[-_][^/]*)$")


def open_image_set(address: str) -> ImageSet:
    """Open labelled images.

    Args:
        address: a folder of class folders, a Parquet file or a folder of them (path or fsspec
            URL), or ``demo://``.

    Raises:
        UserError: nothing is there, it cannot be read, or it holds no labelled images.
    """
    if address.startswith(DEMO_SCHEME):
        return DigitImageSet(address)
    storage = Storage.at(address)
    try:
        if not storage.exists():
            raise UserError(f"there is nothing at {address}: check the address of the images")
        if storage.is_file():
            return _open_file(address, storage)
        files = list(storage.find())
    except OSError as error:
        raise UserError(f"{address} cannot be read: {error}") from error
    shards = [file for file in files if file.endswith(".parquet")]
    if not shards:
        return FolderImageSet(address, storage, files)
    return ParquetImageSet(address, storage, _one_split(address, shards))


def _open_file(address: str, storage: Storage) -> ImageSet:
    if address.lower().endswith(IMAGE_SUFFIXES):
        raise UserError(f"{address} is a single image: give a folder of class folders")
    return ParquetImageSet(address, storage, [""])


def _one_split(address: str, shards: list[str]) -> list[str]:
    """The shards, if they are parts of one split (``train-00000-of-00004.parquet``)."""
    splits = {_SHARD_NUMBER.sub("", shard.removesuffix(".parquet")) for shard in shards}
    if len(splits) > 1:
        names = ", ".join(sorted(filter(None, splits)))
        raise UserError(
            f"{address} holds several splits ({names}): give the address of one, "
            f"such as {address.rstrip('/')}/{shards[0]}"
        )
    return shards
