"""Rows are written several at a time, and none is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from rayxkd.assess.recorder import WRITERS, Recorder
from rayxkd.errors import UserError
from rayxkd.leaderboard import Assessment, Journal
from rayxkd.storage import Storage
from tests.leaderboard.builders import SCHEMA, assessment

ROWS = [assessment(f"t{number}", 1.0 + number / 100) for number in range(3 * WRITERS)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Storage.at(str(tmp_path)))


def test_every_row_is_a_part_and_in_the_table(journal: Journal) -> None:
    with Recorder(journal, SCHEMA) as recorder:
        for row in ROWS:
            recorder.record(row)
        table = recorder.table()
    names = {row.teacher for row in ROWS}
    assert {row.teacher for row in journal.read_parts()} == names
    assert set(table["teacher"].to_pylist()) == names


def test_the_scan_waits_for_no_writer_but_the_last(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All writers are at work at once, and the row after them waits until one is free."""
    together, release = threading.Barrier(WRITERS + 1), threading.Event()

    def slow(row: Assessment, schema: pa.Schema) -> None:
        if int(row.teacher[1:]) < WRITERS:
            together.wait(60)
            release.wait(60)

    monkeypatch.setattr(journal, "write_part", slow)
    with Recorder(journal, SCHEMA) as recorder:
        for row in ROWS[:WRITERS]:
            recorder.record(row)
        together.wait(60)
        one_more = threading.Thread(target=recorder.record, args=(ROWS[WRITERS],))
        one_more.start()
        one_more.join(0.2)
        assert one_more.is_alive()
        release.set()
        one_more.join(60)
        assert not one_more.is_alive()


def test_what_ends_the_scan_leaves_no_row_behind(journal: Journal) -> None:
    def interrupted_scan() -> None:
        with Recorder(journal, SCHEMA) as recorder:
            for row in ROWS:
                recorder.record(row)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_scan()
    assert len(journal.read_parts()) == len(ROWS)


def test_a_row_that_cannot_be_written_is_told(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(row: Assessment, schema: pa.Schema) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(journal, "write_part", full)
    with Recorder(journal, SCHEMA) as recorder:
        recorder.record(ROWS[0])
        with pytest.raises(UserError, match=r"--out .* cannot be written: No space left"):
            recorder.table()
