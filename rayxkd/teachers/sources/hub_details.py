"""What a hub, or its cache, says of a model's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rayxkd.offline import is_offline
from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError
from rayxkd.teachers.listing import LARGEST_CARD, card_too_large
from rayxkd.teachers.sources.hub_files import asked, hub_file, hub_library, why
from rayxkd.teachers.sources.hub_names import HubModel


@dataclass(frozen=True)
class HubDetails:
    """The files of a teacher's folder, by their own names.

    Attributes:
        sizes: in bytes.
        versions: marks that change when the file does.
        sha256: of large ones, where the hub tells it.
        license: as the model's page says.
    """

    sizes: dict[str, int]
    versions: dict[str, str]
    sha256: dict[str, str]
    license: str | None


def details_of(model: HubModel) -> HubDetails:
    """Ask the hub, or look into its cache when offline.

    Raises:
        TeacherError: the model cannot be found.
    """
    hub = hub_library()
    try:
        if is_offline():
            find = partial(hub.snapshot_download, model.id, revision=model.revision)
            return _of_cache(Path(find(local_files_only=True)), model)
        ask = partial(hub.HfApi().model_info, model.id, revision=model.revision)
        info = asked(partial(ask, files_metadata=True))
    except Exception as error:
        raise TeacherError(Status.INVALID, f"{model.id} {why(error, model.id)}") from error
    mine = dict(_inside(model, info.siblings or ()))
    large = {name: one.lfs.sha256 for name, one in mine.items() if one.lfs}
    license = (info.card_data or {}).get("license")
    return HubDetails(
        {name: int(one.size or 0) for name, one in mine.items()},
        {name: large.get(name) or str(one.blob_id) for name, one in mine.items()},
        large,
        None if license is None else str(license),
    )


def _of_cache(snapshot: Path, model: HubModel) -> HubDetails:
    """The same of a snapshot in the cache: links to blobs, whose names are their digests."""
    files = {path.name: path for path in (snapshot / model.folder).glob("*") if path.is_file()}
    return HubDetails(
        {name: path.stat().st_size for name, path in files.items()},
        {name: path.resolve().name for name, path in files.items()},
        {},
        None,
    )


def _inside(model: HubModel, files: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The files of the teacher's folder itself, by their own names."""
    for one in files:
        folder, _, name = str(one.rfilename).rpartition("/")
        if folder == model.folder:
            yield name, one


def small_file(model: HubModel, details: HubDetails, name: str) -> bytes | None:
    """A small file of the teacher, if it has it.

    Raises:
        TeacherError: it is too large, or cannot be downloaded.
    """
    size = details.sizes.get(name)
    if size is None:
        return None
    if size > LARGEST_CARD:
        raise card_too_large(name, size)
    return hub_file(model.id, [model.file(name)], model.revision).read_bytes()
