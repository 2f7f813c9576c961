"""Downloads into the caches of torch and of the hub: once a machine, checked, asked for again.

``HF_HUB_OFFLINE=1`` holds for both: what is not in a cache is missing.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from filelock import FileLock

from rayxkd.offline import OFFLINE_VARIABLE, is_offline
from rayxkd.retries import again_if_transient
from rayxkd.status import Status
from rayxkd.teachers.errors import TeacherError, one_line

# As `torch.hub` reads it: the name of a file ends in the first digits of its SHA-256.
_PREFIX = re.compile(r"-([a-f0-9]{8,64})\.")


def file_name(url: str) -> str:
    """The last component of the path of a URL."""
    return urlsplit(url).path.rpartition("/")[2]


def sha256_prefix(url: str) -> str:
    """What the SHA-256 of a file begins with, by its name; empty where the name says nothing."""
    match = _PREFIX.search(file_name(url))
    return match[1] if match else ""


def fetched(url: str) -> Path:
    """A file in the cache of ``torch.hub``, where torchvision and timm find it too.

    Raises:
        TeacherError: it is not there and cannot be downloaded, or is not the right one.
    """
    import torch.hub

    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name(url)
    if path.exists():
        return path
    if is_offline():
        raise TeacherError(
            Status.INVALID,
            f"its weights are not in {path.parent}, and {OFFLINE_VARIABLE} is set: download "
            f"{url} first, or unset it",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not path.exists():  # another process was faster
            _download(url, path)
    return path


def _download(url: str, path: Path) -> None:
    from torch.hub import download_url_to_file

    prefix = sha256_prefix(url) or None
    call = partial(download_url_to_file, url, str(path), hash_prefix=prefix, progress=False)
    try:
        again_if_transient(call)
    except RuntimeError as error:  # another file than its name says
        raise TeacherError(Status.UNTRUSTED, f"{url}: {one_line(error)}") from error
    except (HTTPError, URLError, OSError) as error:
        reason = f"its weights cannot be downloaded from {url}: {one_line(error)}"
        raise TeacherError(Status.INVALID, reason) from error
