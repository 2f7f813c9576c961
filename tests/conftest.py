"""What all tests share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from threadpoolctl import threadpool_limits

from rayxkd.fleet.cluster import prepare_environment

REPO = Path(__file__).resolve().parent.parent

DIGIT_TEACHERS = ("ten_digits", "low_digits", "parity", "shuffled_labels")

# The same examples in every run; other ones with --hypothesis-profile=default.
hypothesis.settings.register_profile("seeded", derandomize=True)
hypothesis.settings.load_profile("seeded")

# Threads that wait for one another on a busy machine make small problems a hundred times slower:
# those of torch, those of NumPy, which is loaded by now, and those of processes that tests start.
torch.set_num_threads(1)
threadpool_limits(1)
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

# Whichever test imports Ray first, it finds this.
prepare_environment(local=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images and real pretrained teachers, where they are at hand."""
    folder = Path(os.environ.get("RAYXKD_SHARED", REPO.parent / "shared"))
    if not (folder / "zoo").is_dir():
        pytest.skip(f"needs real images and teachers in {folder} (or RAYXKD_SHARED)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tests' cache lies in a folder of their own; workers inherit it.

    Nor does the terminal of whoever runs them matter.
    """
    os.environ.pop("COLUMNS", None)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def ray_session(own_cache: None) -> Iterator[Any]:
    """One local Ray cluster for the whole session of tests."""
    from rayxkd.fleet.cluster import Cluster

    os.environ.pop("RAY_ADDRESS", None)
    with Cluster() as cluster:
        yield cluster.connect()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 API on the loopback interface: one for all tests, since moto keeps one state."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def s3_environment(endpoint: str) -> dict[str, str]:
    """What boto and s3fs find the API by. The key is none that any log would hold by chance."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret-of-the-bucket",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a new, empty bucket; boto and s3fs find it by their environment."""
    import boto3
    import s3fs

    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    # s3fs keeps its file systems, and with them the listings and credentials of earlier tests.
    s3fs.S3FileSystem.clear_instance_cache()
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the demo's teachers, trained once for all tests."""
    from rayxkd.teachers.demo import RECIPES, train_demo_teacher

    folder = tmp_path_factory.mktemp("digits")
    for recipe in RECIPES:
        if recipe.name in DIGIT_TEACHERS:
            train_demo_teacher(recipe, folder)
    return folder
