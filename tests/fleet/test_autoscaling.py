"""A scan on a fleet that starts empty, loses a machine and ends empty, with Ray's own autoscaler.

Ray's provider for tests starts raylets on this machine where a cloud's would start machines.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import s3fs
import yaml

from tests.ray_machines import MEBIBYTE, Head, free_ports, running_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEACHERS, LIMIT = 60, 3
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"

# Connected to the cluster for as long as it is watched: a client for every look would take the
# processors from the scan.
WATCH = """
import json, sys, time
import ray
from ray.job_submission import JobSubmissionClient
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
jobs = JobSubmissionClient(sys.argv[2])
while True:
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
    found = {job.submission_id: job for job in jobs.list_jobs()}.get("scan")
    said = [str(found.status), found.message, found.metadata] if found else ["", "", {}]
    print(json.dumps([time.time(), nodes, *said]), flush=True)
    time.sleep(0.5)
"""


@dataclass(frozen=True)
class Moment:
    """What the cluster was like at a time, in seconds."""

    seconds: float
    nodes: list[str]
    status: str
    message: str
    metadata: dict[str, str]


def fleet_file(folder: Path, port: int) -> Path:
    """A cluster file for workers with one processor, none at first."""
    resources = {"CPU": 1, "object_store_memory": 100 * MEBIBYTE}
    head = {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    worker = {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": LIMIT}
    commands = ("initialization", "setup", "head_setup", "worker_setup")
    content: dict[str, Any] = {
        "cluster_name": "fleet",
        "max_workers": LIMIT,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 10.0,
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": f"127.0.0.1:{port}",
            # All machines have the address of this one.
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, "worker": worker},
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{f"{name}_commands": [] for name in commands},
        **{f"{name}_start_ray_commands": [] for name in ("head", "worker")},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        "file_mounts_sync_continuously": False,
    }
    file = folder / "fleet.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture
def fleet(bucket: str, tmp_path: Path) -> Iterator[Head]:
    (port,) = free_ports(1)
    file = fleet_file(tmp_path, port)
    environment = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_HEARTBEAT_TIMEOUT_S": "5",
        "RAYXKD_FLEET": str(file),
    }
    options = {"port": port, "autoscaling-config": file}
    with running_head(0, options=options, environment=environment) as head:
        yield head


@contextmanager
def watched(head: Head) -> Iterator[Iterator[Moment]]:
    """What happens from now on, a moment about twice a second."""
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCH, f"127.0.0.1:{head.port}", head.address],
        env=head.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    lines = watcher.stdout
    start = time.time()
    try:
        rows = (json.loads(line) for line in lines if line.startswith("["))  # Ray talks, too
        yield (Moment(row[0] - start, *row[1:]) for row in rows)
    finally:
        watcher.kill()
        watcher.wait()


def kill_machine(node: str) -> None:
    """End a raylet as the loss of its machine would; the provider has given it this id."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if b"raylet/raylet" in command and node.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                return
    raise AssertionError(f"no raylet {node}")


def show(moments: list[Moment], killed: float) -> None:
    """The timeline: a line whenever the number of machines changes."""
    last = -1
    for moment in moments:
        if last >= 0 and moment.seconds >= killed > 0:
            print(f"{killed:6.1f} s  a machine was killed")
            killed = 0.0
        if len(moment.nodes) != last:
            last = len(moment.nodes)
            bar = "#" * last
            print(f"{moment.seconds:6.1f} s  {bar:{LIMIT}}  {last} machines  {moment.message}")


def put_teachers(trained: Path, address: str) -> None:
    """So many teachers of different names: the few of the fixture over and over."""
    filesystem = s3fs.S3FileSystem()
    folders = sorted(path.parent for path in trained.glob("*/config.json"))
    for number in range(TEACHERS):
        folder = folders[number % len(folders)]
        filesystem.put(f"{folder}/", f"{address}/t{number:02}_{folder.name}/", recursive=True)


def test_an_empty_fleet_grows_loses_a_machine_and_is_empty_again(
    fleet: Head, bucket: str, trained_digits: Path
) -> None:
    put_teachers(trained_digits, f"{bucket}/teachers")
    moments: list[Moment] = []
    killed: tuple[float, str] | None = None
    with watched(fleet) as happenings:
        moments.append(next(happenings))
        submitted = fleet.submit(
            *("scan", "--repository", f"{bucket}/teachers", "--out", f"{bucket}/board"),
            *("--metrics", "linear_probe", "nleep", "sfda"),
            wait=False,
            upload=False,
        )
        assert submitted.returncode == 0, submitted.stdout + submitted.stderr
        for moment in happenings:
            moments.append(moment)
            done = int(moment.metadata.get("rayxkd_done", 0))
            if killed is None and len(moment.nodes) == LIMIT and done >= 3:
                killed = moment.seconds, moment.nodes[0]
                kill_machine(moment.nodes[0])
            ended = moment.status in ("SUCCEEDED", "FAILED")
            if (ended and not moment.nodes) or moment.seconds > 240:
                break
    show(moments, killed[0] if killed else 0.0)
    log = fleet.log("scan")
    assert moments[-1].status == "SUCCEEDED", log
    assert killed is not None, "the scan ended before the fleet had grown"

    numbers = [len(moment.nodes) for moment in moments]
    assert numbers[0] == 0
    assert max(numbers) == LIMIT
    assert numbers[-1] == 0
    after = [moment for moment in moments if moment.seconds > killed[0]]
    assert any(killed[1] not in moment.nodes for moment in after)

    with s3fs.S3FileSystem().open(f"{bucket}/board/leaderboard.parquet") as file:
        rows = pq.read_table(file).to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * TEACHERS, log
    # The loss of a machine counts against no teacher.
    assert {row["attempts"] for row in rows} == {1}
    # The job's own word, which Ray replaces when it ends, was there for whoever asked.
    assert any("teachers" in moment.message for moment in moments)
    assert f"{TEACHERS} assessed" in log
