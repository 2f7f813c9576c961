"""Scans of real teachers on a real cluster: rows, reuse, and what changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.scan import ScanReport
from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.errors import UserError
from rayxkd.lease import Lease
from rayxkd.storage import Storage
from tests.assess.misbehaviour import Hangs, add_script
from tests.conftest import DIGIT_TEACHERS as TEACHERS

Scan = Callable[..., ScanReport]
CONTRACT = {
    *("rank", "teacher", "status", "reason", "transport_cost", "transport_cost_low"),
    *("transport_cost_high", "relative_cost", "tied", "num_classes", "num_features", "parameters"),
    *("images_seen", "load_seconds", "forward_seconds", "transport_seconds", "device", "attempts"),
    *("license", "teacher_digest", "probe_digest", "config_digest", "rayxkd_version"),
    "finished_at",
}


def rows_of(report: ScanReport) -> dict[str, dict[str, Any]]:
    return {row["teacher"]: row for row in report.leaderboard.table.to_pylist()}


def digits_folder(path: Path) -> Path:
    """The demo's task as a folder of class folders."""
    images = open_image_set("demo://")
    for index, label in enumerate(images.labels_N):
        folder = path / images.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:03}.png").write_bytes(images.read([index])[0] or b"")
    return path


def test_a_scan_and_its_table(scan: Scan, tmp_path: Path) -> None:
    metrics = ("leep", "nce", "logme", "h_score", "knn", "parc")
    report = scan(workers=2, metrics=metrics)
    assert (report.assessed, report.reused, report.left) == (4, 0, 0)
    assert report.succeeded
    rows = rows_of(report)
    assert rows.keys() == {f"zoo/{name}" for name in TEACHERS}
    assert {row["status"] for row in rows.values()} == {"ok"}
    # The teacher that knows the task's classes leads; the one that learnt noise is last.
    table = report.leaderboard.table
    assert table["teacher"][0].as_py() == "zoo/ten_digits"
    assert table["teacher"][-1].as_py() == "zoo/shuffled_labels"
    assert table["rank"].to_pylist() == [1, 2, 3, 4]
    leader = rows["zoo/ten_digits"]
    assert leader["transport_cost_low"] < leader["transport_cost"] < leader["transport_cost_high"]
    assert (leader["num_classes"], leader["num_features"], leader["images_seen"]) == (10, 64, 100)
    assert leader["license"] == "apache-2.0"
    assert leader["device"] == "cpu"
    assert all(leader[name] is not None for name in metrics)
    check_readers(tmp_path / "board" / "leaderboard.parquet", metrics)


def check_readers(path: Path, metrics: tuple[str, ...]) -> None:
    """pandas, polars, DuckDB and pyarrow read the table as a plain Parquet file."""
    expected = {*CONTRACT, *metrics}
    assert expected <= set(pq.read_schema(path).names)
    assert expected <= set(pd.read_parquet(path).columns)
    assert expected <= set(pl.read_parquet(path).columns)
    query = f"select teacher from '{path}' where num_classes = 10 order by transport_cost"
    assert duckdb.sql(query).fetchall()[0] == ("zoo/ten_digits",)
    assert pd.read_parquet(path)["transport_cost"].is_monotonic_increasing


def test_a_second_run_assesses_nothing(scan: Scan) -> None:
    first = scan()
    second = scan()
    assert (second.assessed, second.reused, second.workers) == (0, 4, 0)
    assert first.leaderboard.table.equals(second.leaderboard.table)


def test_one_changed_weight_file_is_assessed_again(scan: Scan, zoo: Path) -> None:
    before = rows_of(scan())
    # Other weights under an old name: same architecture, other content.
    shutil.copy(zoo / "ten_digits" / "model.pt2", zoo / "shuffled_labels" / "model.pt2")
    report = scan(workers=1)
    assert (report.assessed, report.reused) == (1, 3)
    after = rows_of(report)
    kept = ("transport_cost", "teacher_digest", "finished_at")
    changed = {name for name in after if any(after[name][k] != before[name][k] for k in kept)}
    assert changed == {"zoo/shuffled_labels"}
    assert after["zoo/shuffled_labels"]["transport_cost"] == pytest.approx(
        after["zoo/ten_digits"]["transport_cost"]
    )


def test_a_touched_but_equal_weight_file_is_not(scan: Scan, zoo: Path) -> None:
    before = rows_of(scan())
    weights = zoo / "parity" / "model.pt2"
    weights.write_bytes(weights.read_bytes())
    report = scan()
    assert (report.assessed, report.reused) == (0, 4)
    after = rows_of(report)
    assert after["zoo/parity"]["finished_at"] == before["zoo/parity"]["finished_at"]
    # Its new mark is noted: the third run does not read it again.
    assert scan().workers == 0


def test_a_changed_card_is_assessed_again(scan: Scan, zoo: Path) -> None:
    scan()
    card = zoo / "parity" / "config.json"
    content = json.loads(card.read_text())
    content["pretrained_cfg"]["mean"] = [0.1]
    card.write_text(json.dumps(content))
    report = scan()
    assert (report.assessed, report.reused) == (1, 3)


def test_one_changed_probe_image_assesses_all_again(scan: Scan, tmp_path: Path) -> None:
    probe = digits_folder(tmp_path / "task")
    before = rows_of(scan(probe=str(probe)))
    images = sorted(probe.rglob("*.png"))
    images[0].write_bytes(images[1].read_bytes())
    report = scan(probe=str(probe))
    assert (report.assessed, report.reused) == (4, 0)
    after = rows_of(report)
    assert all(after[name]["probe_digest"] != before[name]["probe_digest"] for name in after)


def test_the_same_images_elsewhere_cost_the_same(scan: Scan, tmp_path: Path) -> None:
    probe = digits_folder(tmp_path / "task")
    folder = rows_of(scan(probe=str(probe), out=str(tmp_path / "a")))
    demo = rows_of(scan(out=str(tmp_path / "b")))
    for name, row in demo.items():
        assert folder[name]["transport_cost"] == pytest.approx(row["transport_cost"], rel=0.05)


def test_added_and_removed_teachers(scan: Scan, zoo: Path) -> None:
    scan()
    shutil.copytree(zoo / "parity", zoo / "deep" / "er" / "parity")
    shutil.rmtree(zoo / "low_digits")
    report = scan()
    assert (report.assessed, report.reused) == (1, 3)
    assert rows_of(report).keys() == {
        "zoo/ten_digits",
        "zoo/parity",
        "zoo/shuffled_labels",
        "zoo/deep/er/parity",
    }


def test_broken_teachers_are_rows_not_errors(scan: Scan, zoo: Path) -> None:
    (zoo / "low_digits" / "model.pt2").write_bytes(b"not an archive")
    (zoo / "parity" / "config.json").write_text("{")
    pickled = zoo / "shuffled_labels" / "model.pt2"
    pickled.rename(pickled.with_name("weights.pkl"))
    report = scan()
    rows = rows_of(report)
    assert report.succeeded
    assert rows["zoo/ten_digits"]["rank"] == 1
    failed = {name: rows[f"zoo/{name}"] for name in ("low_digits", "parity", "shuffled_labels")}
    assert [row["status"] for row in failed.values()] == ["invalid", "invalid", "untrusted"]
    assert all(row["reason"] and row["rank"] is None for row in failed.values())
    assert report.leaderboard.table["teacher"][0].as_py() == "zoo/ten_digits"
    again = scan()
    assert (again.assessed, again.reused) == (0, 4)
    # Mended, it is assessed; asked for, failures are tried again.
    (zoo / "parity" / "config.json").write_text((zoo / "ten_digits" / "config.json").read_text())
    assert scan(retry_failed=True).assessed >= 1


def test_a_scan_goes_on_where_it_was_stopped(scan: Scan, tmp_path: Path) -> None:
    whole = scan(out=str(tmp_path / "whole")).leaderboard.table
    scan()
    # As after a kill: some parts, one of them torn, and no table.
    board = tmp_path / "board"
    parts = sorted((board / "parts").iterdir())
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    (board / "leaderboard.parquet").unlink()
    report = scan()
    assert (report.assessed, report.reused) == (2, 2)
    kept = ["rank", "teacher", "status", "transport_cost", "tied", "teacher_digest"]
    assert report.leaderboard.table.select(kept).equals(whole.select(kept))


def test_a_spent_budget_leaves_the_rest_for_later(scan: Scan) -> None:
    from datetime import timedelta

    report = scan(budget=timedelta(milliseconds=1))
    assert report.left >= 3
    assert report.assessed + report.left == 4
    assert report.leaderboard.table.num_rows == report.assessed
    assert scan().assessed == report.left


def test_another_configuration_is_refused_by_name(scan: Scan) -> None:
    scan()
    for change, option in (
        ({"cost": "prototype"}, "--cost learned, not prototype"),
        ({"seed": 1}, "--seed 0, not 1"),
        ({"metrics": ("leep",)}, r"--metrics \(none\), not leep"),
        ({"probe_size": 90}, "--probe-size 512, not 90"),
    ):
        with pytest.raises(UserError, match=option):
            scan(**change)
    assert scan(cost="prototype", fresh=True).assessed == 4
    assert scan(cost="prototype").assessed == 0


@pytest.mark.parametrize("cost", ["cooccurrence", "prototype"])
def test_other_costs_agree_on_the_extremes(scan: Scan, cost: str) -> None:
    teachers = scan(cost=cost).leaderboard.table["teacher"].to_pylist()
    if cost == "prototype":  # its costs are not normalised between label spaces of other sizes
        assert teachers.index("zoo/ten_digits") < teachers.index("zoo/shuffled_labels")
    else:
        assert (teachers[0], teachers[-1]) == ("zoo/ten_digits", "zoo/shuffled_labels")


def test_kept_predictions_are_not_asked_for_again(
    scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scan(cost="prototype").leaderboard.to_pandas()
    scan(fresh=True, keep_predictions=True)

    def asked(*_: Any) -> None:
        raise AssertionError("a teacher was asked again")

    monkeypatch.setattr("rayxkd.assess.asker.predict", asked)
    again = scan(fresh=True, keep_predictions=True, cost="prototype").leaderboard.to_pandas()
    assert (again["status"] == "ok").all()
    assert again["forward_seconds"].isna().all(), "it says nothing of their speed"
    assert again["transport_cost"].tolist() == plain["transport_cost"].tolist()
    assert again["teacher"].tolist() == plain["teacher"].tolist()


def test_a_second_repository_joins_the_leaderboard(scan: Scan, zoo: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(zoo / "parity", tmp_path / "other" / "parity")).parent
    scan()
    report = scan(repository=(str(other),))
    assert (report.assessed, report.reused) == (1, 4)
    assert "other/parity" in rows_of(report)
    namesake = Path(shutil.copytree(zoo, tmp_path / "elsewhere" / "zoo"))
    with pytest.raises(UserError, match="two repositories of one name"):
        scan(repository=(str(namesake),))
    both = scan(repository=(str(zoo), str(namesake)), out=str(tmp_path / "both"))
    assert len(rows_of(both)) == 8


def test_transport_to_a_student(scan: Scan, zoo: Path, tmp_path: Path) -> None:
    probe = sample_probe_set(open_image_set("demo://"))
    perfect = tmp_path / "labels.npy"
    np.save(perfect, np.eye(5)[probe.labels_N])
    labels = rows_of(scan(cost="cooccurrence", out=str(tmp_path / "a")))
    student = rows_of(scan(reference=str(perfect), out=str(tmp_path / "b")))
    for name, row in student.items():
        # A student that is always right and sure is the labels.
        assert row["transport_cost"] == pytest.approx(labels[name]["transport_cost"], abs=1e-9)
        assert row["config_digest"] != labels[name]["config_digest"]
    soft = tmp_path / "soft.npy"
    np.save(soft, np.random.default_rng(0).normal(size=(100, 5)))
    report = scan(reference=str(soft), out=str(tmp_path / "c"))
    assert report.statuses == {"ok": 4}
    with pytest.raises(UserError, match="is a likelihood of labels"):
        scan(reference=str(soft), cost="learned", out=str(tmp_path / "d"))
    np.save(soft, np.eye(5))
    with pytest.raises(UserError, match="a row for each of the 100 images"):
        scan(reference=str(soft), out=str(tmp_path / "d"))
    with pytest.raises(UserError, match="has the classes zero, one"):
        scan(reference=str(zoo / "ten_digits"), out=str(tmp_path / "e"))


def test_a_students_folder_is_a_reference(scan: Scan, zoo: Path, tmp_path: Path) -> None:
    """A model with the task's classes, in the layout of a teacher's folder."""
    student = Path(shutil.copytree(zoo / "low_digits", tmp_path / "student"))
    card = json.loads((student / "config.json").read_text())
    card["label_names"] = ["five", "six", "seven", "eight", "nine"]
    (student / "config.json").write_text(json.dumps(card))
    assert scan(reference=str(student)).statuses == {"ok": 4}


def test_results_do_not_depend_on_workers_or_batches(scan: Scan, tmp_path: Path) -> None:
    one = rows_of(scan(out=str(tmp_path / "one"), workers=0))
    two = rows_of(scan(out=str(tmp_path / "two"), workers=2, batch_size=7))
    for name, row in one.items():
        assert row["transport_cost"] == pytest.approx(two[name]["transport_cost"], abs=1e-5)


def test_a_teacher_that_hangs_costs_one_row(scan: Scan, zoo: Path) -> None:
    """A trusted TorchScript teacher that never answers is stopped at its deadline."""
    from datetime import timedelta

    add_script(zoo, "endless", Hangs())
    untrusted = scan()
    assert untrusted.statuses == {"ok": 4, "untrusted": 1}
    report = scan(trust_code=True, timeout=timedelta(seconds=8), workers=1)
    assert report.statuses == {"ok": 4, "timeout": 1}
    assert report.assessed == 1, "what was untrusted is tried when it is trusted"


def test_a_zoo_without_a_good_teacher_does_not_succeed(scan: Scan, zoo: Path) -> None:
    for folder in zoo.iterdir():
        (folder / "model.pt2").write_bytes(b"")
    report = scan()
    assert not report.succeeded
    assert report.statuses == {"invalid": 4}


@pytest.mark.slow
def test_demo_needs_no_arguments(ray_session: Any, tmp_path: Path) -> None:
    report = assess(AssessSettings(out=str(tmp_path / "demo"), workers=2))
    teachers = report.leaderboard.table["teacher"].to_pylist()
    assert report.statuses == {"ok": 12}
    assert teachers[0] == "demo/ten_digits"
    assert teachers[-1] == "demo/small_or_large"


@pytest.mark.parametrize("fresh", [False, True])
def test_two_scans_into_one_directory_are_refused(scan: Scan, tmp_path: Path, fresh: bool) -> None:
    scan()
    board = tmp_path / "board"
    before = {path: path.stat().st_mtime_ns for path in board.rglob("*.parquet")}

    with Lease(Storage.at(str(board)), "scan"):
        with pytest.raises(UserError, match="another scan is at work in --out"):
            scan(fresh=fresh)
        assert before == {path: path.stat().st_mtime_ns for path in board.rglob("*.parquet")}
    assert scan().reused == 4
