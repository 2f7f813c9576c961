"""Indexes of real teachers: what is made, kept, refused, and read by others."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from rayxkd.errors import UserError
from rayxkd.sketches import IndexSettings
from rayxkd.sketches.schema import METADATA_KEY
from rayxkd.sketches.sketcher import Answer, Sketcher, SketchJob
from rayxkd.sketches.store import SketchStore
from rayxkd.storage import Storage
from tests.conftest import DIGIT_TEACHERS as TEACHERS
from tests.sketches.conftest import Index


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "index" / "sketches").iterdir())


def test_an_index_is_a_data_set(make_index: Index, tmp_path: Path) -> None:
    report = make_index()
    assert (report.made, report.reused, report.failed) == (len(TEACHERS), 0, 0)
    (file,) = files(tmp_path)
    names = sorted(f"zoo/{name}" for name in TEACHERS)
    assert sorted(pd.read_parquet(file)["teacher"]) == names
    assert sorted(pl.read_parquet(file)["teacher"]) == names
    query = (
        "select teacher, num_classes, len(prototypes) / len(mass), list_sum(mass) "
        f"from '{tmp_path}/index/sketches/*.parquet' order by teacher"
    )
    rows = duckdb.sql(query).fetchall()
    assert [row[0] for row in rows] == names
    classes = {"ten_digits": 10, "low_digits": 5, "parity": 2, "shuffled_labels": 10}
    assert {row[0].removeprefix("zoo/"): row[1] for row in rows} == classes
    assert [row[2] for row in rows] == [32] * 4
    assert [row[3] for row in rows] == pytest.approx([1] * 4)
    schema = pq.read_schema(file)
    assert json.loads(schema.metadata[METADATA_KEY])["dimensions"] == 32
    assert all(field.metadata[b"description"] for field in schema)


def test_unchanged_teachers_are_not_asked_again(
    make_index: Index, zoo: Path, tmp_path: Path
) -> None:
    make_index()
    again = make_index()
    assert (again.made, again.reused) == (0, 4)
    assert len(files(tmp_path)) == 1
    # The same bytes with another time, and under another name: known by their digest.
    os.utime(zoo / "parity" / "model.pt2", (1, 1))
    shutil.copytree(zoo / "ten_digits", zoo / "copy")
    again = make_index()
    assert (again.made, again.reused) == (0, 5)
    store = SketchStore(Storage.at(str(tmp_path / "index")))
    known = store.read(store.space())
    assert sorted(name for _, name in known.keys) == sorted(
        f"zoo/{name}" for name in (*TEACHERS, "copy")
    )
    assert (make_index().made, len(files(tmp_path))) == (0, 2)


def test_a_teacher_that_changed_is_asked_again_and_the_newest_counts(
    make_index: Index, zoo: Path, tmp_path: Path
) -> None:
    make_index()
    shutil.copy(zoo / "shuffled_labels" / "model.pt2", zoo / "ten_digits")
    card = zoo / "ten_digits" / "config.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"note": "taught anew"}))
    report = make_index()
    assert (report.made, report.reused) == (1, 3)
    store = SketchStore(Storage.at(str(tmp_path / "index")))
    known = store.read(store.space())
    assert len(known) == 4
    row = {name: row for row, (_, name) in enumerate(known.keys)}
    changed, other = (
        known.sketches([row[name]]).prototypes_PD
        for name in ("zoo/ten_digits", "zoo/shuffled_labels")
    )
    np.testing.assert_array_equal(changed, other)


def test_a_broken_teacher_costs_its_sketch_alone(make_index: Index, zoo: Path) -> None:
    (zoo / "parity" / "model.pt2").write_bytes(b"no weights")
    (zoo / "low_digits" / "config.json").write_text("{")
    report = make_index()
    assert (report.made, report.failed) == (2, 2)


class Hangs(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        while bool(torch.rand(1) >= 0):
            images = images + 1
        return images.flatten(1)[:, :2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.(script|save). is deprecated:FutureWarning")
def test_workers_make_the_same_and_a_teacher_that_hangs_costs_its_own_sketch(
    ray_session: Any, make_index: Index, zoo: Path, tmp_path: Path
) -> None:
    make_index()
    others = str(tmp_path / "others")
    assert make_index(out=others, workers=2).made == 4
    assert rows(others) == rows(tmp_path / "index")

    (zoo / "hangs").mkdir()
    torch.jit.script(Hangs()).save(str(zoo / "hangs" / "model.pt"))
    card = json.loads((zoo / "parity" / "config.json").read_text())
    card |= {"library_name": "torchscript", "num_classes": 2}
    (zoo / "hangs" / "config.json").write_text(json.dumps(card))
    told = io.StringIO()
    report = make_index(
        out=others,
        workers=1,
        timeout=timedelta(seconds=8),
        trust_code=True,
        console=Console(file=told, width=200),
    )
    assert (report.made, report.reused, report.failed, report.left) == (0, 4, 1, 0)
    assert "zoo/hangs: " in told.getvalue()
    assert "--timeout 8" in told.getvalue()


def rows(index: Path | str) -> list[dict[str, Any]]:
    """What is known of every teacher but when it was made, and how fast."""
    store = SketchStore(Storage.at(str(index)))
    table = store.read(store.space()).table.drop_columns(["made_at", "forward_seconds"])
    kept = table.drop_columns(["weights_version", "repository"])
    return sorted(kept.to_pylist(), key=lambda row: str(row["teacher"]))


def test_everything_in_a_bucket(make_index: Index, bucket: str, zoo: Path, tmp_path: Path) -> None:
    make_index()
    fsspec.filesystem("s3").put(str(zoo), f"{bucket}/zoo", recursive=True)
    there = {"repository": (f"{bucket}/zoo",), "out": f"{bucket}/index"}
    assert make_index(**there).made == 4
    assert rows(f"{bucket}/index") == rows(tmp_path / "index")
    assert make_index(**there).reused == 4
    # Other weights under the same name: the object's mark changes, and only that teacher is asked.
    weights = (zoo / "ten_digits" / "model.pt2").read_bytes()
    fsspec.filesystem("s3").pipe_file(f"{bucket}/zoo/parity/model.pt2", weights)
    again = make_index(**there)
    assert (again.made + again.failed, again.reused) == (1, 3)


def test_an_interrupt_keeps_what_is_made(
    make_index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, asked = Sketcher.run, []

    def interrupted(self: Sketcher, job: SketchJob) -> Answer:
        asked.append(job)
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return run(self, job)

    with monkeypatch.context() as patched:
        patched.setattr(Sketcher, "run", interrupted)
        report = make_index()
    assert (report.interrupted, report.made, report.left) == (True, 2, 2)
    assert len(rows(tmp_path / "index")) == 2
    report = make_index()
    assert (report.made, report.reused) == (2, 2)


def test_another_space_or_reference_is_refused(make_index: Index, zoo: Path) -> None:
    make_index()
    with pytest.raises(UserError, match=r"begun with another --space .*do not compare"):
        make_index(space=str(zoo / "ten_digits"))
    with pytest.raises(UserError, match="begun with another --reference"):
        make_index(reference_size=150)
    report = make_index(space=str(zoo / "ten_digits"), fresh=True)
    assert report.made == 4


def test_sketches_of_another_space_are_refused(
    make_index: Index, zoo: Path, tmp_path: Path
) -> None:
    make_index()
    other = tmp_path / "other"
    make_index(space=str(zoo / "ten_digits"), out=str(other))
    (file,) = (other / "sketches").iterdir()
    shutil.copy(file, tmp_path / "index" / "sketches")
    with pytest.raises(UserError, match="sketches of another space"):
        make_index()


def test_files_of_others_are_refused(make_index: Index, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'thesis.txt', which is no index of rayxkd"):
        make_index()
    assert (tmp_path / "index" / "thesis.txt").read_text() == "mine"


def test_a_table_that_is_no_sketches_is_refused(make_index: Index, tmp_path: Path) -> None:
    make_index()
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "index" / "sketches" / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet is no sketches of rayxkd"):
        make_index()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": ()}, "at least one address each"),
        ({"reference_size": 10}, "--reference-size must be 100 or more, not 10"),
        ({"batch_size": 0}, "--batch-size must be above zero"),
        ({"workers": -1}, "--workers must be 0"),
    ],
)
def test_wrong_settings(changes: dict[str, object], message: str) -> None:
    settings = {"repository": ("zoo",), "reference": ("images",)}
    with pytest.raises(UserError, match=message):
        IndexSettings(**(settings | changes)).check()  # type: ignore[arg-type]
