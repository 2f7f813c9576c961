"""Whatever dies, no teacher is lost or counted twice, and the table is the undisturbed one."""

from __future__ import annotations

import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import boto3
import pyarrow as pa
import pytest

from rayxkd.assess import AssessSettings, assess
from rayxkd.leaderboard import Leaderboard
from tests.assess.chaos import Chaos, Proxy, write_teachers
from tests.conftest import REPO, s3_environment
from tests.fleet.test_jobs import OF_THE_RUN
from tests.ray_machines import running_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEACHERS, FAULTS = 200, 20
IMAGES = 50
# A machine that is gone is known to be gone within two seconds, not within thirty.
SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "zoo"
    write_teachers(folder, TEACHERS)
    return folder


@pytest.fixture(scope="module")
def undisturbed(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    out = tmp_path_factory.mktemp("undisturbed") / "board"
    settings = AssessSettings(
        repository=(str(zoo),), out=str(out), workers=0, probe_size=IMAGES, no_evidence=True
    )
    report = assess(settings)
    assert report.statuses == {"ok": TEACHERS}
    return report.leaderboard.table


@dataclass(frozen=True)
class Bucket:
    """One that holds the teachers, and will hold the leaderboard.

    Attributes:
        name: of the bucket.
        endpoint: of its store.
    """

    name: str
    endpoint: str

    def finished(self) -> int:
        """How many teachers are."""
        store = boto3.client("s3", endpoint_url=self.endpoint)
        pages = store.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix="board/parts/"
        )
        return sum(page.get("KeyCount", 0) for page in pages)


@pytest.fixture
def bucket_of_teachers(s3_endpoint: str, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    store, name = boto3.client("s3", endpoint_url=s3_endpoint), f"chaos-{uuid.uuid4().hex}"
    store.create_bucket(Bucket=name)
    for file in zoo.rglob("*.*"):
        store.upload_file(str(file), name, f"zoo/{file.relative_to(zoo)}")
    return Bucket(name, s3_endpoint)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_is_lost(
    seed: int, undisturbed: pa.Table, bucket_of_teachers: Bucket, tmp_path: Path
) -> None:
    bucket, log = bucket_of_teachers, tmp_path / "log"
    words = [sys.executable, "jobs/assess.py", "--repository", f"s3://{bucket.name}/zoo"]
    words += ["--out", f"s3://{bucket.name}/board", "--workers", "2"]
    words += ["--probe-size", str(IMAGES)]
    with (
        Proxy(bucket.endpoint, seed).running() as proxy,
        running_head(0, environment=s3_environment(proxy.endpoint) | SOON) as head,
    ):
        head.add_nodes(2, cpus=1)
        head.wait_for_nodes(3)

        def start() -> subprocess.Popen[bytes]:
            environment = head.environment | {"RAY_ADDRESS": f"127.0.0.1:{head.port}"}
            with log.open("ab") as output:
                return subprocess.Popen(
                    words, cwd=REPO, env=environment, stdout=output, stderr=subprocess.STDOUT
                )

        chaos = Chaos(head, proxy, start, seed)
        code = chaos.run(bucket.finished, every=TEACHERS // (FAULTS + 2), limit=800)

    assert code == 0, log.read_text()[-3000:]
    print(chaos.done, dict(proxy.spoilt))
    assert len(chaos.done) >= FAULTS, chaos.done
    table = Leaderboard.open(f"s3://{bucket.name}/board").table
    assert sorted(table["teacher"].to_pylist()) == sorted(undisturbed["teacher"].to_pylist())
    kept = [name for name in table.column_names if name not in OF_THE_RUN or name == "teacher"]
    assert table.select(kept).equals(undisturbed.select(kept))
