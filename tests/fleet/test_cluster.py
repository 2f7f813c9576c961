"""Starting Ray: what goes wrong is one line."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rayxkd.errors import UserError
from rayxkd.fleet.cluster import _ENVIRONMENT, _LOCAL_ENVIRONMENT, _initialise


def test_a_local_cluster_that_does_not_start_is_one_line() -> None:
    stopped = []

    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup")

    ray = SimpleNamespace(init=init, shutdown=lambda: stopped.append(True))
    with pytest.raises(UserError, match=r"timed out during startup.*--workers 0"):
        _initialise(ray, None, dashboard=False)
    assert stopped


def test_an_address_where_nobody_listens_is_told_within_seconds() -> None:
    from tests.ray_machines import free_ports

    (port,) = free_ports(1)
    with pytest.raises(UserError, match=rf"nobody answers at RAY_ADDRESS=127.0.0.1:{port}"):
        _initialise(SimpleNamespace(), f"127.0.0.1:{port}", dashboard=False)


LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def listening() -> list[str]:
    """Addresses at which the processes below this one listen."""
    ours = {process.pid for process in psutil.Process().children(recursive=True)}
    return [
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.pid in ours and connection.status == psutil.CONN_LISTEN
    ]


def test_a_local_cluster_listens_on_the_loopback_interface_only(ray_session: Any) -> None:
    found = listening()
    assert len(found) > 3
    assert set(found) <= LOOPBACK


RAY_FIRST = """
import ray, psutil
from rayxkd.fleet.cluster import Cluster
with Cluster() as cluster:
    print(cluster.connect().get(ray.remote(lambda: "done").remote(), timeout=90))
    print(*sorted(set(listening()) - LOOPBACK))
"""


@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")
def test_ray_that_was_imported_first_works_below_uv_run_and_on_loopback(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"LOOPBACK = {LOOPBACK}\n{inspect.getsource(listening)}\n{RAY_FIRST}")
    ours = {"RAY_ADDRESS", *_ENVIRONMENT, *_LOCAL_ENVIRONMENT}
    done = subprocess.run(
        ["uv", "run", "--no-sync", "python", str(script)],
        env={name: value for name, value in os.environ.items() if name not in ours},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n\n"), done.stderr
