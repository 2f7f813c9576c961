"""Storage: a small file is written, read, listed and deleted, from here and from every node."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rayxkd.doctor.agent import NotWrittenError, put
from rayxkd.doctor.checks import Check, failed, ok, reason, within
from rayxkd.doctor.nodes import Node, answers
from rayxkd.storage import Storage

# Libraries of object stores try for minutes.
SECONDS = 20.0
_NODE_SECONDS = 60.0
_HERE = "here.txt"
_CREDENTIALS = "its name, the network and your credentials"


def examine_storage(
    address: str, nodes: Sequence[Node] = (), *, seconds: float = SECONDS
) -> Iterator[Check]:
    """Try one address.

    Args:
        address: a folder or a URL.
        nodes: from which it must be reachable too.
        seconds: after which it is given up here.
    """
    name = address
    folder = f"rayxkd-doctor-{uuid.uuid4().hex}"
    try:
        storage = within(seconds, lambda: Storage.at(address))
    except Exception as error:
        yield failed(name, reason(error), f"Correct --storage {address}, or see to {_CREDENTIALS}.")
        return
    new = _missing_folders(storage)
    left = True
    try:
        within(seconds, lambda: put(storage, folder, _HERE))
        yield ok(name, "written, read and listed from here")
        # A relative path is ours; an address of others may lose its credentials when shown.
        theirs = storage.url if storage.is_local else address
        yield from _from_nodes(theirs, name, folder, nodes)
    except Exception as error:
        left = not isinstance(error, NotWrittenError)
        mend = f"See that {address} exists and may be read and written: check {_CREDENTIALS}."
        yield failed(name, reason(error), mend)
    finally:
        cleared = list(_clear(storage, name, folder, new, seconds))
        yield from cleared if left else ()


def _from_nodes(address: str, name: str, folder: str, nodes: Sequence[Node]) -> Iterator[Check]:
    def ask(node: Node) -> Any:
        return node.actor.visit.remote(address, folder, _HERE, f"{uuid.uuid4().hex}.txt")

    well = 0
    for node, unseen, why in answers(nodes, ask, _NODE_SECONDS):
        if why:
            mend = f"See that {address} can be reached from {node.name}: check {_CREDENTIALS}."
            yield failed(name, f"from {node.name}: {why}", mend)
        elif unseen:
            yield failed(
                name,
                f"{node.name} does not see what is written here: there it is another place",
                "Give an address that every node reaches: a bucket, or a folder mounted on all.",
            )
        else:
            well += 1
    if well:
        yield ok(name, f"written, read, listed and deleted from {well} node(s)")


def _missing_folders(storage: Storage) -> list[Path]:
    """Folders that writing would make, the innermost first."""
    if not storage.is_local:
        return []
    root = Path(storage.root)
    return [path for path in (root, *root.parents) if not path.exists()]


def _clear(
    storage: Storage, name: str, folder: str, new: Sequence[Path], seconds: float
) -> Iterator[Check]:
    """Leave nothing behind."""
    try:
        within(seconds, lambda: _remove(storage, folder))
    except Exception as error:
        yield failed(
            name,
            f"cannot be deleted: {reason(error)}",
            f"Delete {storage.url_of(folder)} if it is there, and allow deleting in {storage.url}.",
        )
    with suppress(OSError):  # somebody else may have put something there
        for path in new:
            path.rmdir()


def _remove(storage: Storage, folder: str) -> None:
    storage.refresh()
    storage.remove(folder)
