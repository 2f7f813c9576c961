"""The same teachers and images give the same leaderboard wherever they lie, digest for digest."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from rayxkd.assess import AssessSettings, assess
from rayxkd.data import open_image_set
from tests.teachers.transformers_folders import write_transformers

# What differs between any two scans, and the address itself.
OTHERS = {
    *("repository", "load_seconds", "forward_seconds", "transport_seconds", "finished_at"),
    *("metric_seconds", "weights_version"),  # the file system's own mark of a file
}


@pytest.fixture
def all_kinds(zoo: Path, tmp_path: Path) -> Path:
    """Programs, networks of our own, one of transformers, and some that are broken."""
    write_transformers(zoo / "vit", "vit")
    for name in ("truncated", "no_card", "pickled"):
        shutil.copytree(zoo / "vit", zoo / "broken" / name)
    weights = zoo / "broken/truncated/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    (zoo / "broken/no_card/config.json").unlink()
    (zoo / "broken/pickled/model.safetensors").rename(zoo / "broken/pickled/weights.pkl")
    task = open_image_set("demo://")
    for place, (label, content) in enumerate(
        zip(task.labels_N, task.read(range(100)), strict=True)
    ):
        folder = tmp_path / "task" / task.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        assert content is not None
        (folder / f"{place:03}.png").write_bytes(content)
    return tmp_path


def in_memory(folder: Path, _: pytest.FixtureRequest) -> str:
    fsspec.filesystem("memory").put(f"{folder}/", "/places", recursive=True)
    return "memory://places/{}"


def in_a_bucket(folder: Path, request: pytest.FixtureRequest) -> str:
    address = request.getfixturevalue("bucket")
    fsspec.filesystem("s3").put(f"{folder}/", f"{address}/", recursive=True)
    return f"{address}/{{}}"


def zipped(folder: Path, _: pytest.FixtureRequest) -> str:
    archive = shutil.make_archive(str(folder.parent / "packed"), "zip", folder)
    return f"zip://{{}}::{archive}"


def in_a_tar(folder: Path, _: pytest.FixtureRequest) -> str:
    archive = folder.parent / "packed.tar"
    with tarfile.open(archive, "w") as file:
        for name in ("zoo", "task"):
            file.add(folder / name, name)
    return f"tar://{{}}::{archive}"


def scanned(address: str, out: Path) -> pa.Table:
    """The leaderboard of a scan, without what no two scans share."""
    report = assess(
        AssessSettings(
            repository=(address.format("zoo"),),
            probe=address.format("task"),
            probe_size=60,
            out=str(out),
            workers=0,
        )
    )
    table = report.leaderboard.table
    return table.select([name for name in table.column_names if name not in OTHERS])


@pytest.mark.parametrize("move", [in_memory, in_a_bucket, zipped, in_a_tar])
def test_the_place_does_not_matter(
    move: Callable[[Path, pytest.FixtureRequest], str],
    all_kinds: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> None:
    outs = tmp_path_factory.mktemp("boards")
    here = scanned(f"{all_kinds}/{{}}", outs / "local")
    there = scanned(move(all_kinds, request), outs / "moved")
    assert here.num_rows == 8
    assert here["status"].to_pylist().count("ok") == 5
    assert here.schema.equals(there.schema)
    for one, other in zip(here.to_pylist(), there.to_pylist(), strict=True):
        assert one == other, {key: (one[key], other[key]) for key in one if one[key] != other[key]}
