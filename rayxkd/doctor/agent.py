"""What runs on every node: it goes there as it is, and needs nothing of rayxkd until it is asked.

A node without rayxkd, or with another one, must be able to say so; hence only the standard library
is imported above, and nothing of this package.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import time
from typing import Any

_PACKAGES = ("ray", "torch", "torchvision")


class Agent:
    """The actor on one node."""

    def __init__(self) -> None:
        # Ray hides the GPUs from an actor that asks for none; this one is to count them.
        if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "NoDevFiles"):
            del os.environ["CUDA_VISIBLE_DEVICES"]

    def about(self) -> dict[str, Any]:
        """Versions, GPUs and the name of this node; a version that begins with ``!`` is missing."""
        return {
            "host": socket.gethostname(),
            "token": os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
            "gpus": _gpus(),
            "versions": versions(),
        }

    def clock(self) -> float:
        """Seconds since the epoch, by this node's clock."""
        return time.time()

    def visit(self, url: str, folder: str, theirs: str, own: str) -> bool:
        """Try storage from this node.

        Args:
            url: of the storage.
            folder: below it, where the file ``theirs`` of another machine lies.
            theirs: what this node must be able to read; its name is its content.
            own: what it writes, and deletes again.

        Returns:
            Whether their file is not to be seen from here, and so nothing was written.

        Raises:
            OSError: with what could not be done.
        """
        from rayxkd.storage import Storage

        storage = Storage.at(url)
        try:
            seen = storage.read(f"{folder}/{theirs}") == theirs.encode()
        except FileNotFoundError:
            seen = False
        if not seen:
            return True
        try:
            put(storage, folder, own)
        finally:
            storage.remove(f"{folder}/{own}")
        return False


class NotWrittenError(OSError):
    """Nothing could be written, so there is nothing to delete."""


def put(storage: Any, folder: str, name: str) -> None:
    """Write a file, read it back and list it.

    Raises:
        NotWrittenError: it could not be written.
        OSError: what else could not be done.
    """
    path = f"{folder}/{name}"
    try:
        storage.write(path, name.encode())
    except OSError as error:
        raise NotWrittenError(f"cannot be written: {_said(error)}") from error
    try:
        content = storage.read(path)
    except OSError as error:
        raise OSError(f"cannot be read: {_said(error)}") from error
    if content != name.encode():
        raise OSError("a file that was written is read back with other content")
    try:
        storage.refresh()
        listed = path in storage.find(folder)
    except OSError as error:
        raise OSError(f"cannot be listed: {_said(error)}") from error
    if not listed:
        raise OSError("a file that was written is not listed")


def versions() -> dict[str, str]:
    """Versions in this process; what is missing says so behind a ``!``."""
    found = {"Python": platform.python_version(), "rayxkd": _rayxkd()}
    for name in _PACKAGES:
        try:
            # The build, as in `+cu130`, may differ from node to node.
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "!not installed"
    return found


def _rayxkd() -> str:
    try:
        import rayxkd.assess
    except Exception as error:
        return f"!cannot be imported: {_said(error)}"
    return str(rayxkd.__version__)


def _gpus() -> int | str:
    """How many GPUs torch sees, or why it cannot say."""
    try:
        import torch

        return int(torch.cuda.device_count())
    except Exception as error:
        return f"torch cannot be loaded: {_said(error)}"


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
