"""Paths that only this machine knows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Cluster
from rayxkd.fleet.sharing import check_shared
from rayxkd.storage import Storage

FLEET = "{available_node_types: {worker: {resources: {CPU: 1}, max_workers: 3}}}"


@pytest.fixture
def joined(ray_session: object, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The session's cluster, as if it had been there before; its machines are still to come."""
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAYXKD_FLEET", FLEET)
    return Cluster()


def test_where_machines_are_to_come_a_path_of_this_one_is_refused(
    joined: Cluster, tmp_path: Path
) -> None:
    out = Storage.at(str(tmp_path / "deep" / "board"))
    with pytest.raises(UserError, match=r"--out .*deep/board lies on .* the machines that will be"):
        check_shared(joined, [("out", out)])
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_is_made_to_be_shared_is_believed(
    joined: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4"),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    check_shared(joined, [("out", Storage.at(str(tmp_path / "board")))])
    with pytest.raises(UserError, match="--repository"):
        check_shared(joined, [("repository", Storage.at(str(tmp_path.parent)))])


def test_one_machine_and_buckets_are_not_asked(
    ray_session: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Storage.at(str(tmp_path))
    check_shared(Cluster(), [("out", here)])  # a cluster of our own
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    check_shared(Cluster(), [("out", here)])  # one that has no other machine
    monkeypatch.setenv("RAYXKD_FLEET", FLEET)
    check_shared(Cluster(), [("out", Storage.at("memory://board"))])
