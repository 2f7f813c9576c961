"""The directory that a scan writes: whose it is, and what survives in it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from rayxkd.errors import UserError
from rayxkd.leaderboard import Assessment, Journal
from rayxkd.status import Status
from rayxkd.storage import Storage
from tests.leaderboard.builders import HOSTILE_NAMES, SCHEMA, assessment

SETTINGS = {"cost": "learned", "metrics": ["leep"], "probe-size": 512, "temperature": None}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "board"


@pytest.fixture
def journal(folder) -> Journal:
    return Journal(Storage.at(str(folder)))


def contents(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def parts(folder):
    return sorted((folder / "parts").iterdir())


def fill(journal, settings=SETTINGS):
    """What an earlier scan left."""
    journal.begin(settings)
    journal.write_part(assessment("old", cost=1.0), SCHEMA)
    journal.write_table(journal.read_parts(), SCHEMA)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_directory_is_taken(fresh, exists, folder, journal):
    if exists:
        folder.mkdir()
    journal.begin(SETTINGS, fresh=fresh)
    note = json.loads((folder / "scan.json").read_text())
    assert note == {"format": "rayxkd leaderboard", "settings": SETTINGS}
    assert journal.read_parts() == []


def test_the_same_settings_go_on_with_what_is_there(folder, journal):
    fill(journal)
    before = contents(folder)
    journal.begin(dict(SETTINGS))
    assert contents(folder) == before
    assert [row.teacher for row in journal.read_parts()] == ["old"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cost", "prototype", "--cost learned, not prototype"),
        ("metrics", ["leep", "knn"], "--metrics leep, not leep knn"),
        ("metrics", [], r"--metrics leep, not \(none\)"),
        ("temperature", 8.0, r"--temperature \(default\), not 8\.0"),
        ("probe-size", 64, "--probe-size 512, not 64"),
        ("new-option", 1, r"--new-option \(default\), not 1"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_touched(name, value, message, folder, journal):
    fill(journal)
    before = contents(folder)
    with pytest.raises(UserError, match=message) as caught:
        journal.begin({**SETTINGS, name: value})
    assert str(folder) in str(caught.value)
    assert "--fresh to start anew" in str(caught.value)
    assert contents(folder) == before


def test_fresh_starts_anew_with_other_settings(folder, journal):
    fill(journal)
    journal.begin({"cost": "prototype"}, fresh=True)
    assert list(contents(folder)) == ["scan.json"]
    assert journal.read_parts() == []
    journal.begin({"cost": "prototype"})


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "file", ["thesis.tex", "parts/chapter.tex", "leaderboard.parquet", ".hidden", "a/b/c.txt"]
)
def test_a_directory_of_somebody_else_is_refused_and_not_touched(file, fresh, folder, journal):
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text("years of work")
    with pytest.raises(UserError, match=f"holds '{file}', which is no leaderboard of rayxkd"):
        journal.begin(SETTINGS, fresh=fresh)
    assert contents(folder) == {file: b"years of work"}


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "note", ['{"scanner": "flatbed", "settings": {"dpi": 300}}', '["a", "list"]', "300"]
)
def test_a_scan_file_of_another_program_is_not_touched(note, fresh, folder, journal):
    (folder / "parts").mkdir(parents=True)
    (folder / "parts/page.png").write_text("a page")
    (folder / "scan.json").write_text(note)
    with pytest.raises(UserError, match=r"holds 'scan\.json', which is no leaderboard of rayxkd"):
        journal.begin(SETTINGS, fresh=fresh)
    assert (folder / "parts/page.png").read_text() == "a page"
    assert (folder / "scan.json").read_text() == note


def test_files_beside_ours_are_kept_by_fresh(folder, journal):
    fill(journal)
    (folder / "notes.txt").write_text("which one I took, and why")
    journal.begin({"cost": "prototype"}, fresh=True)
    assert sorted(contents(folder)) == ["notes.txt", "scan.json"]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_file_is_no_directory(fresh, folder, journal):
    folder.write_text("years of work")
    with pytest.raises(UserError, match="holds 'board', which is no leaderboard of rayxkd"):
        journal.begin(SETTINGS, fresh=fresh)
    assert folder.read_text() == "years of work"


@pytest.mark.parametrize(
    "note",
    [
        "",
        '{"format": "rayxkd leaderb',
        b"\xff\xfe",
        '{"format": "rayxkd leaderboard"}',
        '{"format": "rayxkd leaderboard", "settings": [1]}',
        '{"format": "rayxkd leaderboard", "settings": null}',
    ],
)
def test_a_damaged_scan_file_is_told_and_fresh_mends_it(note, folder, journal):
    fill(journal)
    (folder / "scan.json").write_bytes(note if isinstance(note, bytes) else note.encode())
    with pytest.raises(UserError, match=r"scan\.json is damaged: start anew with --fresh"):
        journal.begin(SETTINGS)
    assert len(journal.read_parts()) == 1
    journal.begin(SETTINGS, fresh=True)
    assert list(contents(folder)) == ["scan.json"]


def test_where_nothing_can_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    journal = Journal(Storage.at(str(tmp_path / "file/board")))
    with pytest.raises(UserError, match=r"--out .*/file/board cannot be written"):
        journal.begin(SETTINGS)


def full_assessment() -> Assessment:
    return Assessment(
        teacher="zoo/resnet",
        repository="s3://bucket/zoo",
        status=Status.OK,
        teacher_digest="a" * 64,
        probe_digest="b" * 64,
        config_digest="c" * 64,
        rayxkd_version="0.1.0",
        finished_at=datetime(2026, 3, 1, 12, 30, 1, 234567, tzinfo=UTC),
        reason="said",
        transport_cost=0.1 + 0.2,
        transport_cost_low=1e-300,
        transport_cost_high=1e300,
        relative_cost=0.25,
        metrics={"leep": -1 / 3, "h_score": 2.0},
        num_classes=1000,
        num_features=1280,
        parameters=2**40,
        images_seen=512,
        load_seconds=0.1,
        forward_seconds=2.5,
        transport_seconds=0.01,
        metric_seconds=0.02,
        device="cuda:0 NVIDIA H200",
        attempts=2,
        license="apache-2.0",
        temperature=8.0,
        cost_prior="semantic",
        weights_bytes=2**33,
        weights_version="123456789",
    )


def test_every_field_comes_back_as_it_was_written(journal):
    row = full_assessment()
    empty = [field.name for field in fields(row) if not getattr(row, field.name)]
    assert empty == [], "the test covers every field"
    journal.write_part(row, SCHEMA)
    assert journal.read_parts() == [row]


def test_what_is_not_known_comes_back_as_none(journal):
    row = assessment("broken", status=Status.CRASHED)
    journal.write_part(row, SCHEMA)
    (found,) = journal.read_parts()
    assert found == row
    assert found.transport_cost is None
    assert found.license is None
    assert found.metrics == {}


@pytest.mark.parametrize("status", list(Status))
def test_every_status_comes_back(status, journal):
    journal.write_part(assessment("x", cost=1.0, status=status), SCHEMA)
    (found,) = journal.read_parts()
    assert found.status is status
    assert found.is_ok == (status == "ok")


def test_a_metric_that_was_not_computed_is_left_out(journal):
    journal.write_part(assessment("x", cost=1.0, metrics={"leep": -0.5}), SCHEMA)
    assert journal.read_parts()[0].metrics == {"leep": -0.5}


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "../../etc/passwd", "a" * 5_000, "/", ".."])
def test_any_name_can_be_recorded(name, folder, journal):
    journal.write_part(assessment(name, cost=1.0), SCHEMA)
    assert [row.teacher for row in journal.read_parts()] == [name]
    assert [file.parent for file in parts(folder)] == [folder / "parts"]


def test_a_teacher_that_is_assessed_again_replaces_its_part(folder, journal):
    journal.write_part(assessment("x"), SCHEMA)
    journal.write_part(assessment("x", cost=1.0), SCHEMA)
    assert len(parts(folder)) == 1
    assert [row.transport_cost for row in journal.read_parts()] == [1.0]


def test_teachers_of_two_repositories_may_share_a_name(folder, journal):
    journal.write_part(assessment("x", repository="one"), SCHEMA)
    journal.write_part(assessment("x", repository="two"), SCHEMA)
    assert len(parts(folder)) == 2
    assert {row.repository for row in journal.read_parts()} == {"one", "two"}


def test_a_part_that_was_cut_off_anywhere_counts_as_not_finished(folder, journal):
    journal.write_part(assessment("whole", cost=1.0), SCHEMA)
    (whole,) = parts(folder)
    content = whole.read_bytes()
    for length in range(0, len(content), 97):
        (folder / f"parts/torn{length}.parquet").write_bytes(content[:length])
    assert [row.teacher for row in journal.read_parts()] == ["whole"]


def test_parts_that_are_none_of_ours_count_as_not_finished(folder, journal):
    journal.write_part(assessment("whole", cost=1.0), SCHEMA)
    table = pq.read_table(parts(folder)[0])
    strange = {
        "no_metadata": table.replace_schema_metadata(None),
        "no_row": table[:0],
        "no_status": table.drop_columns(["status"]),
        "no_digest": table.drop_columns(["teacher_digest"]),
        "other_status": table.set_column(
            table.schema.get_field_index("status"), "status", [["superb"]]
        ),
        "newer": table.replace_schema_metadata({"rayxkd": '{"schema_version": 99}'}),
        "list": table.replace_schema_metadata({"rayxkd": "[1]"}),
    }
    for name, other in strange.items():
        pq.write_table(other, folder / f"parts/{name}.parquet")
    (folder / "parts/empty.parquet").write_bytes(b"")
    (folder / "parts/text.parquet").write_text("not Parquet")
    (folder / "parts/.half.parquet.tmp").write_text("half written")
    assert [row.teacher for row in journal.read_parts()] == ["whole"]


def test_the_table_is_made_of_the_parts(folder, journal):
    journal.begin(SETTINGS)
    rows = [assessment("b", cost=2.0), assessment("c"), assessment("a", cost=1.0)]
    for row in rows:
        journal.write_part(row, SCHEMA)
    written = journal.write_table(journal.read_parts(), SCHEMA)
    found = pq.read_table(folder / "leaderboard.parquet")
    assert found.equals(written, check_metadata=True)
    assert found["teacher"].to_pylist() == ["a", "b", "c"]
    back = [Assessment.from_row(row, ("leep", "h_score")) for row in found.to_pylist()]
    assert sorted(back, key=lambda row: row.teacher) == sorted(rows, key=lambda row: row.teacher)


def test_no_temporary_files_are_left(folder, journal):
    fill(journal)
    fill(journal)
    names = {file.split("/")[0] for file in contents(folder)}
    assert names == {"scan.json", "schema.parquet", "parts", "leaderboard.parquet"}
    assert len(contents(folder)) == 4


def test_a_disk_that_fails_leaves_the_earlier_part(folder, journal, monkeypatch):
    before = assessment("x", cost=1.0)
    journal.write_part(before, SCHEMA)

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        journal.write_part(replace(before, transport_cost=2.0), SCHEMA)
    assert journal.read_parts() == [before]
    assert len(parts(folder)) == 1


def test_parts_are_small_and_their_table_says_what_its_columns_mean(folder, journal):
    fill(journal)
    sizes = [path.stat().st_size for path in (folder / "parts").iterdir()]
    assert max(sizes) < 6_000, "a hundred thousand of them are read when a scan goes on"

    found = journal.contents()

    assert found.schema.equals(SCHEMA, check_metadata=True)
    (folder / "schema.parquet").unlink()  # as in journals of before, or where it was lost
    assert [row.teacher for row in journal.read_parts()] == [
        row.teacher for row in found.assessments
    ]
    assert journal.contents().schema.names == SCHEMA.names
