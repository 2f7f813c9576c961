"""Where teachers come from, by the scheme of an address."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rayxkd.errors import UserError
from rayxkd.storage import Storage
from rayxkd.teachers.repository import Repository, SelectingRepository
from rayxkd.teachers.sources.folders import FolderRepository
from rayxkd.teachers.sources.hub import HubRepository, is_hub
from rayxkd.teachers.sources.hub_names import HUB_SCHEME
from rayxkd.teachers.sources.library import LibraryRepository
from rayxkd.teachers.sources.query import parse_selection
from rayxkd.teachers.sources.timm import TimmRepository
from rayxkd.teachers.sources.torchvision import TorchvisionRepository

__all__ = ["FolderRepository", "demo_repository", "open_repositories", "reopen"]

DEMO_SCHEME = "demo://"
_LIBRARIES: dict[str, type[LibraryRepository]] = {
    "torchvision://": TorchvisionRepository,
    "timm://": TimmRepository,
}


def open_repositories(addresses: Sequence[str]) -> list[Repository]:
    """Open repositories so that no two of their teachers have the same name.

    A teacher of a folder is called by the last component of its repository's address and its own
    folder; where two repositories end in the same component, or in the name of a library, by the
    whole address, which begins with a slash or a scheme and so is no other teacher's name. Several
    addresses of one library or hub are one repository, of which each selects teachers.

    Raises:
        UserError: an address twice, of an unknown scheme, or with a selection that is wrong.
    """
    selected = _selections(addresses)
    folders = [one for one in addresses if _opener(one) is None]
    storages = [Storage.at(address) for address in folders]
    twice = len({storage.url for storage in storages}) < len(storages)
    if twice or len(set(addresses)) < len(addresses):
        raise UserError(f"--repository names an address twice: {' '.join(addresses)}")
    taken = [one.prefix for one in selected] + [storage.name for storage in storages]
    opened: list[Repository] = [
        FolderRepository(
            storage.url,
            storage,
            storage.name if taken.count(storage.name) == 1 else storage.url,
        )
        for storage in storages
    ]
    return [*opened, *selected]


def reopen(address: str, teacher: str) -> Repository:
    """The repository of one teacher of a leaderboard, under the prefix that it has there.

    Args:
        address: as the leaderboard records it.
        teacher: its name there. Of a library or a hub, no other is listed.

    Raises:
        UserError: it cannot be opened, such as for want of secrets that the leaderboard lacks.
    """
    for scheme, library in _LIBRARIES.items():
        if address.startswith(scheme):
            return library.of_one(parse_selection(address), teacher)
    if address.startswith(HUB_SCHEME) and is_hub(address):
        return HubRepository.of_one(teacher)
    storage = Storage.at(address)
    whole = teacher == storage.url or teacher.startswith(f"{storage.url}/")
    return FolderRepository(storage.url, storage, storage.url if whole else storage.name)


def demo_repository(place: Storage) -> Repository:
    """The demo's teachers."""
    return FolderRepository(DEMO_SCHEME, place, "demo")


def _selections(addresses: Sequence[str]) -> list[Repository]:
    """Libraries and hubs, each once, with all that is selected of them."""
    found: dict[str, SelectingRepository] = {}
    for address in addresses:
        opener = _opener(address)
        if opener is not None:
            one = opener(address)
            known = found.get(one.address)
            found[one.address] = one if known is None else known.joined(one)
    return list(found.values())


def _opener(address: str) -> Callable[[str], SelectingRepository] | None:
    for scheme, library in _LIBRARIES.items():
        if address.startswith(scheme):
            return lambda one: library.of(parse_selection(one))
    return HubRepository.of if is_hub(address) else None
