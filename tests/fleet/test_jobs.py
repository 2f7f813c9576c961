"""``ray job submit`` as a user runs it, on four machines, with everything in a bucket.

The machines are four raylets on this one. They share its disk, except the one that is made blind.
"""

from __future__ import annotations

import io
import json
import subprocess
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from rayxkd.assess import AssessSettings, assess
from tests.conftest import s3_environment
from tests.ray_machines import MEBIBYTE, Head, running_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEACHERS = 12
# Enough to be far from done when `ray job stop`, which takes seconds to start, comes through.
MANY = 120
NODES = 4
# What two scans of the same teachers need not agree in: how long it took, and who did it.
OF_THE_RUN = ("load_seconds", "forward_seconds", "transport_seconds", "metric_seconds", "device")
OF_THE_RUN += ("finished_at", "weights_version", "repository", "teacher", "attempts")


@dataclass(frozen=True)
class Machines:
    """Four machines and a bucket that all of them reach."""

    head: Head
    bucket: str
    endpoint: str

    @property
    def files(self) -> Any:
        options = s3_environment(self.endpoint)
        return s3fs.S3FileSystem(
            endpoint_url=self.endpoint,
            key=options["AWS_ACCESS_KEY_ID"],
            secret=options["AWS_SECRET_ACCESS_KEY"],
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def table(self, address: str) -> pa.Table:
        with self.files.open(f"{address}/leaderboard.parquet") as file:
            return pq.read_table(file)

    def done(self, name: str, *arguments: str | Path, script: str = "assess") -> str:
        """What a job printed that succeeded."""
        done = self.head.submit(name, *arguments, script=script)
        assert done.returncode == 0, self.head.log(name)
        assert f"Job '{name}' succeeded" in done.stdout
        return self.head.log(name)


@pytest.fixture(scope="module")
def machines(s3_endpoint: str) -> Iterator[Machines]:
    import boto3

    environment = s3_environment(s3_endpoint)
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    ).create_bucket(Bucket=name)
    with running_head(1, environment=environment) as head:
        head.add_nodes(NODES - 1, cpus=1)
        head.wait_for_nodes(NODES)
        yield Machines(head, f"s3://{name}", s3_endpoint)


@pytest.fixture(scope="module")
def board(machines: Machines) -> str:
    """The demo's leaderboard, as a first job makes it."""
    address = f"{machines.bucket}/board"
    log = machines.done("first", "--out", address)
    assert f"{TEACHERS} assessed" in log
    assert f"leaderboard: {address}" in log
    return address


def test_the_ranking_is_that_of_one_process(
    machines: Machines, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = machines.table(board)
    assert table["status"].to_pylist() == ["ok"] * TEACHERS
    for name, value in s3_environment(machines.endpoint).items():
        monkeypatch.setenv(name, value)
    teachers = f"{board}/demo-1"
    local = assess(AssessSettings(repository=(teachers,), out=str(tmp_path), workers=0))
    for name in table.column_names:
        if name not in OF_THE_RUN:
            assert local.leaderboard.table[name].equals(table[name]), name
    assert names_of(local.leaderboard.table) == names_of(table)


def names_of(table: pa.Table) -> list[str]:
    """Of the teachers, by rank, whatever their repository is called."""
    return [name.rsplit("/")[-1] for name in table["teacher"].to_pylist()]


def test_two_workers_on_different_machines_train_a_student(machines: Machines, board: str) -> None:
    student = f"{machines.bucket}/student"
    arguments = ["--leaderboard", board, "--out", student, "--workers", "2", "--mixtures", "100"]
    arguments += ["--test", "demo://test", "--training.epochs", "2"]
    log = machines.done("distil", *arguments, script="distill")
    assert "2 worker(s) on 2 machine(s)" in log
    assert "2 epoch(s) trained" in log
    names = {path.rsplit("/")[-1] for path in machines.files.ls(student)}
    assert {"config.json", "model.safetensors", "model.pt2", "README.md"} <= names
    assert {"checkpoint.pt", "metrics.parquet"} <= names
    assert ".ray" not in names


@pytest.mark.long
def test_a_search_on_four_machines(machines: Machines, board: str) -> None:
    search = f"{machines.bucket}/search"
    arguments = ["--leaderboard", board, "--out", search, "--trials", "3", "--mixtures", "20"]
    arguments += ["--training.epochs", "2", "--training.epoch-images", "64", "--grace-epochs", "1"]
    log = machines.done("search", *arguments, script="tune")
    assert "best of 3 trials" in log
    rows = machines.table(search).to_pylist()
    assert len(rows) == 3
    assert {row["status"] for row in rows} <= {"ok", "stopped"}
    again = machines.done("search_again", *arguments, script="tune")
    assert "\ntrial " not in again
    assert machines.table(search).to_pylist() == rows


def test_a_mistake_fails_the_job_with_one_line(machines: Machines) -> None:
    board = f"{machines.bucket}/mistake"
    done = machines.head.submit("mistake", "--out", board, "--cost", "nope")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Job 'mistake' failed" in machines.head.status("mistake")
    log = machines.head.log("mistake")
    last = log.strip().splitlines()[-1]
    assert last.startswith("error: "), log
    assert "nope" in last
    assert "Traceback" not in log
    assert not machines.files.exists(board)


def test_a_scan_without_success_fails_the_job_and_says_why(
    machines: Machines, tmp_path: Path
) -> None:
    broken = tmp_path / "teachers" / "broken"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text('{"num_classes": 3, "library_name": "caffe"}')
    done = machines.head.submit(
        *("broken", "--repository", broken.parent, "--out", f"{machines.bucket}/broken")
    )
    assert done.returncode == 1
    assert "Job 'broken' failed" in done.stdout + done.stderr
    last = machines.head.log("broken").strip().splitlines()[-1]
    # The repository's path is local, and seen by all of these machines.
    assert last.startswith("error: no teacher could be assessed: 1 unsupported"), last


def job(head: Head, name: str) -> dict[str, Any]:
    """What ``ray job status`` asks for, without the seconds that its start takes."""
    token = {"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"}
    request = urllib.request.Request(f"{head.address}/api/jobs/{name}", headers=token)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def wait_for_progress(head: Head, name: str, done: int) -> None:
    """Until a running job says that so many teachers are done."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = job(head, name)
        assert found["status"] in ("PENDING", "RUNNING"), head.log(name)
        if int((found["metadata"] or {}).get("rayxkd_done", 0)) >= done:
            return
        time.sleep(0.2)
    raise AssertionError(f"no progress: {found}\n{head.log(name)}")


def metrics_of(head: Head) -> str:
    """What Prometheus would be told by all machines."""
    found = json.loads((head.folder / "prom_metrics_service_discovery.json").read_text())
    targets = {target for group in found for target in group["targets"]}
    pages = []
    for target in targets:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as page:
            pages.append(page.read().decode())
    return "\n".join(pages)


def wait_for_metrics(head: Head) -> None:
    """Until Prometheus would be told of a running job; Ray tells it seconds later."""
    names = ("teachers_done", "teachers_failed", "teachers_queued", "images_per_second")
    deadline = time.monotonic() + 30
    while missing := [name for name in names if f"rayxkd_{name}" not in metrics_of(head)]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.5)


def test_a_stopped_job_keeps_what_is_done_and_another_goes_on(
    machines: Machines, board: str
) -> None:
    many = f"{machines.bucket}/many"
    files = machines.files
    demo = board.removeprefix("s3://") + "/demo-1"
    for number in range(MANY):
        names = sorted(path.rsplit("/")[-1] for path in files.ls(demo))
        source = f"{demo}/{names[number % TEACHERS]}"
        for file in ("config.json", "model.pt2"):
            files.copy(f"{source}/{file}", f"{many}/t{number:03}/{file}")
    arguments = ["--repository", many, "--out", f"{machines.bucket}/stopped"]
    arguments += ["--metrics", "linear_probe", "nleep", "sfda"]
    machines.head.submit("stopped", *arguments, wait=False)
    wait_for_progress(machines.head, "stopped", 3)
    assert f"/{MANY} teachers" in job(machines.head, "stopped")["message"]
    wait_for_metrics(machines.head)
    machines.head.ray("job", "stop", "--address", machines.head.address, "stopped")
    assert "stopped" in machines.head.status("stopped").lower()
    log = machines.head.log("stopped")
    assert log.strip().splitlines()[-1].startswith("interrupted"), log
    finished = machines.table(f"{machines.bucket}/stopped").num_rows
    assert 3 <= finished < MANY

    log = machines.done("continued", *arguments)
    assert f"{MANY - finished} assessed; {finished} unchanged" in log
    assert machines.table(f"{machines.bucket}/stopped").num_rows == MANY


def test_a_path_that_a_machine_cannot_see_is_refused_at_once(
    machines: Machines, tmp_path: Path
) -> None:
    blinds = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']
    tried = subprocess.run([*blinds, str(tmp_path), "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("mounting is not allowed here")
    machines.head.add_nodes(1, cpus=0, below=[*blinds, str(tmp_path)])
    machines.head.wait_for_nodes(NODES + 1)
    done = machines.head.submit("unshared", "--out", tmp_path / "board")
    assert done.returncode == 1
    last = machines.head.log("unshared").strip().splitlines()[-1]
    assert last.startswith(f"error: --out {tmp_path / 'board'} lies on "), last
    assert "s3://bucket/folder" in last
    assert not list(tmp_path.iterdir())


def test_who_has_no_token_is_refused(machines: Machines) -> None:
    stranger = {
        name: value
        for name, value in machines.head.environment.items()
        if not name.startswith("RAY_AUTH")
    }
    for changes in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32}):
        environment = stranger | {"HOME": str(machines.head.folder)} | changes
        done = machines.head.submit("stranger", environment=environment)
        assert done.returncode != 0
        said = (done.stdout + done.stderr).lower()
        assert "unauthorized" in said or "invalid authentication token" in said, said
    assert "stranger" not in machines.head.ray("job", "list").stdout


def test_every_port_is_on_the_loopback_interface(machines: Machines) -> None:
    ours = set(machines.head.processes())
    listening = [
        connection
        for connection in psutil.net_connections("inet")
        if connection.pid in ours and connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > NODES
    loopback = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    assert not {one.laddr for one in listening if one.laddr.ip not in loopback}


def test_no_secret_is_in_any_log(machines: Machines, board: str) -> None:
    """Neither the token nor the bucket's key, wherever Ray and we write."""
    head = machines.head
    secrets = [head.environment[name] for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY")]
    files = list(head.logs())
    assert len({file.parent for file in files}) >= NODES
    for file in files:
        lines = file.read_bytes().splitlines()
        told = [line for line in lines if any(secret.encode() in line for secret in secrets)]
        assert not told, (file, told[0][:3000])
    for path in machines.files.find(board.removeprefix("s3://")):
        if path.endswith((".parquet", ".json")):
            content = machines.files.cat(path)
            assert not any(secret.encode() in content for secret in secrets), path


def test_the_upload_is_the_code_and_less_than_a_megabyte(machines: Machines, board: str) -> None:
    packages = machines.head.folder / "session_latest" / "runtime_resources" / "working_dir_files"
    # One for each state of the working tree, should it change during the tests.
    uploads = [path for path in packages.iterdir() if path.is_dir()]
    assert uploads
    for package in uploads:
        names = {path.name for path in package.iterdir()}
        assert {"jobs", "rayxkd", "pyproject.toml"} <= names
        assert not names & {".git", ".venv", "tests"}
        size = packed_size(package)
        assert size < MEBIBYTE, f"{size / MEBIBYTE:.1f} MiB"


def packed_size(folder: Path) -> int:
    """Bytes of the archive that Ray uploads, without what Python compiled while the jobs ran."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in folder.rglob("*"):
            if path.suffix != ".pyc":
                file.write(path, path.relative_to(folder))
    return archive.tell()
