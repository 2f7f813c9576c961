"""Image sets, probe sets and vectors of class names."""

from __future__ import annotations

import re
from collections.abc import Callable

from rayxkd.data.digits import DEMO_SCHEME, DigitImageSet
from rayxkd.data.encoded import EncodedImages, ImageBuffer, read_encoded
from rayxkd.data.folders import IMAGE_SUFFIXES, FolderImageSet
from rayxkd.data.images import ImageSet, Labels
from rayxkd.data.library import TORCHVISION_SCHEME, LibraryImageSet
from rayxkd.data.listed import TABLE_SUFFIXES, ListedImageSet
from rayxkd.data.parquet import ParquetImageSet
from rayxkd.data.probe import ProbeSet, sample_probe_set
from rayxkd.data.selection import (
    SelectedImageSet,
    Selection,
    mistyped_key,
    split_selection,
)
from rayxkd.data.vectors import ClassVectors, read_class_vectors
from rayxkd.data.webdataset import SHARD_SUFFIX, WebImageSet
from rayxkd.errors import UserError
from rayxkd.secrets import without_secrets
from rayxkd.storage import Storage

__all__ = [
    "ClassVectors",
    "EncodedImages",
    "ImageBuffer",
    "ImageSet",
    "ProbeSet",
    "SelectedImageSet",
    "Selection",
    "open_image_set",
    "read_class_vectors",
    "read_encoded",
    "sample_probe_set",
]

_BY_NAME: dict[str, Callable[[str], ImageSet]] = {
    DEMO_SCHEME: DigitImageSet,
    TORCHVISION_SCHEME: LibraryImageSet,
}
# What follows a split's name: `-00000-of-00004`, `-0`, `-00000-<uuid>`, or a number alone.
_SHARD_NUMBER = re.compile(r"(^|[-_/])(\d+|\d{4,}[-_][^/]*)$")


def open_image_set(address: str, *, labelled: bool = True) -> ImageSet:
    """Open images.

    Args:
        address: a folder of class folders, a Parquet file or a folder of them, a CSV or TSV file
            of paths and labels, WebDataset shards (path or fsspec URL), ``torchvision://CIFAR100``,
            or ``demo://``; and perhaps a selection, such as
            ``#classes=bear,lion&per_class=30`` (see :mod:`rayxkd.data.selection`).
        labelled: read the labels. Without, a folder of images and Parquet without a column
            ``label`` will do, every label is -1 and there are no class names; labels that are
            there serve a selection only. ``per_class`` then counts all images as one class where
            there are no labels.

    Raises:
        UserError: nothing is there, it cannot be read, it holds no images (with labels, if these
            are wanted), or the selection is wrong or leaves nothing.
    """
    place, selection = split_selection(address)
    shown = without_secrets(address)
    unlabelled = Labels.IGNORED if selection is None else Labels.IF_ANY
    images = _open(place, Labels.NEEDED if labelled else unlabelled)
    if selection is None and labelled == bool(images.class_names):
        return images
    return SelectedImageSet(shown, images, selection or Selection(), labelled=labelled)


def _open(address: str, labels: Labels) -> ImageSet:
    for scheme, create in _BY_NAME.items():
        if address.startswith(scheme):
            return _open_by_name(address, create)
    storage = Storage.at(address)
    address = without_secrets(address)
    try:
        if not storage.exists():
            raise mistyped_key(address) or UserError(
                f"there is nothing at {address}: check the address of the images"
            )
        if storage.is_file():
            return _open_file(address, storage, labels)
        files = list(storage.find())
    except OSError as error:
        raise UserError(f"{address} cannot be read: {error}") from error
    shards = [file for file in files if file.endswith(".parquet")]
    archives = [file for file in files if file.endswith(SHARD_SUFFIX)]
    images = any(file.lower().endswith(IMAGE_SUFFIXES) for file in files)
    if archives and not shards and not images:
        return WebImageSet(
            address, storage, _one_split(address, archives, SHARD_SUFFIX), files, labels
        )
    if not shards:
        return FolderImageSet(address, storage, files, labels)
    return ParquetImageSet(address, storage, _one_split(address, shards), labels)


def _open_by_name(address: str, create: Callable[[str], ImageSet]) -> ImageSet:
    error = mistyped_key(address)
    if error is not None:
        raise error
    return create(address)


def _open_file(address: str, storage: Storage, labels: Labels) -> ImageSet:
    if address.lower().endswith(IMAGE_SUFFIXES):
        wanted = "class folders" if labels is Labels.NEEDED else "images"
        raise UserError(f"{address} is a single image: give a folder of {wanted}")
    if address.lower().endswith(TABLE_SUFFIXES):
        return ListedImageSet(address, storage, labels)
    if address.lower().endswith(SHARD_SUFFIX):
        return WebImageSet(address, storage, [""], (), labels)
    return ParquetImageSet(address, storage, [""], labels)


def _one_split(address: str, shards: list[str], suffix: str = ".parquet") -> list[str]:
    """The shards, if they are parts of one split (``train-00000-of-00004.parquet``)."""
    splits = {_SHARD_NUMBER.sub("", shard.removesuffix(suffix)) for shard in shards}
    if len(splits) > 1:
        names = ", ".join(sorted(filter(None, splits)))
        raise UserError(
            f"{address} holds several splits ({names}): give the address of one, "
            f"such as {address.rstrip('/')}/{shards[0]}"
        )
    return shards
