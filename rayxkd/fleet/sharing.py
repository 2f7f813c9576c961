"""Paths that only this machine knows, on a cluster of several."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.machines import living_nodes, resources, this_node
from rayxkd.storage import Storage

_SECONDS = 60.0
# File systems that are made to be mounted by many machines.
_SHARED_FILE_SYSTEMS = (
    *("nfs", "cifs", "smb", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "afs", "9p"),
    *("virtiofs", "wekafs", "pvfs2", "orangefs", "fuse."),
)


def check_shared(cluster: Cluster, places: Iterable[tuple[str, Storage]]) -> None:
    """Refuse local paths that not every machine of the cluster sees.

    Where there are several machines, a file is laid there and each of the others looks for it.
    Where they are still to come, only a file system that is made to be shared is believed.

    Args:
        cluster: where the job works; one that we start is this machine alone.
        places: files that the job reads or writes on its workers, with the name of their option.

    Raises:
        UserError: the first path that others do not see.
    """
    local = [(option, place) for option, place in places if place.is_local]
    if not local or not cluster.is_joined:
        return
    ray = cluster.connect()
    others = _other_nodes(ray)
    if not others and resources(ray).fleet is None:
        return
    for option, place in local:
        folder = _nearest_folder(place.local_path(""))
        if not others:
            if not _is_network_folder(folder):
                raise _not_shared(option, place, "the machines that will be started")
            continue
        with _marker(option, folder) as marker:
            blind = _who_does_not_see(ray, others, marker)
        if blind:
            raise _not_shared(option, place, blind)


def _not_shared(option: str, place: Storage, who: str) -> UserError:
    return UserError(
        f"--{option} {place.url} lies on {socket.gethostname()}, the machine of this job: {who} "
        "cannot see it. Give a URL that all machines reach, such as s3://bucket/folder, or a path "
        "that they share"
    )


def _other_nodes(ray: Any) -> list[dict[str, Any]]:
    here = this_node()
    return [node for node in living_nodes(ray) if node["NodeID"] != here]


def _nearest_folder(path: Path) -> Path:
    """The path itself or the first folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _is_network_folder(folder: Path) -> bool:
    import psutil

    mounts = psutil.disk_partitions(all=True)
    above = [mount for mount in mounts if folder.is_relative_to(mount.mountpoint)]
    kind = max(above, key=lambda mount: len(mount.mountpoint)).fstype if above else ""
    return kind.startswith(_SHARED_FILE_SYSTEMS)


@contextmanager
def _marker(option: str, folder: Path) -> Iterator[Path]:
    """A file in the folder, for as long as it takes."""
    marker = folder / f".rayxkd-{uuid.uuid4().hex}"
    try:
        marker.touch()
    except OSError as error:
        raise UserError(f"--{option} {folder} cannot be written: {error}") from error
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _who_does_not_see(ray: Any, nodes: list[dict[str, Any]], marker: Path) -> str:
    """The names of the nodes where the file is not; those that do not answer are left out."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(_sees)
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
        asked[look.options(**options).remote(str(marker))] = node["NodeManagerHostname"]
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_SECONDS)
    return ", ".join(sorted({asked[ref] for ref in answered if _is_blind(ray, ref)}))


def _is_blind(ray: Any, ref: Any) -> bool:
    try:
        return not ray.get(ref)
    except ray.exceptions.RayError:  # a node that went away meanwhile
        return False


def _sees(path: str) -> bool:
    return Path(path).exists()
