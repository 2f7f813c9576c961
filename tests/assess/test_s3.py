"""A scan whose teachers, images and leaderboard all lie in a bucket, over a real S3 API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec

from rayxkd.assess import AssessSettings, assess
from rayxkd.leaderboard import Leaderboard


def upload(folder: Path, address: str) -> None:
    fsspec.filesystem("s3").put(str(folder), address, recursive=True)


def test_everything_in_a_bucket(bucket: str, zoo: Path, tmp_path: Path) -> None:
    upload(zoo, f"{bucket}/zoo")
    settings: dict[str, Any] = {"workers": 0, "out": f"{bucket}/boards/digits"}
    remote = assess(AssessSettings(repository=(f"{bucket}/zoo",), **settings))
    assert remote.statuses == {"ok": 4}
    local = assess(AssessSettings(repository=(str(zoo),), workers=0, out=str(tmp_path / "board")))
    kept = ["teacher", "transport_cost", "teacher_digest", "probe_digest", "config_digest"]
    opened = Leaderboard.open(f"{bucket}/boards/digits")
    assert opened.table.select(kept).equals(local.leaderboard.table.select(kept))

    again = assess(AssessSettings(repository=(f"{bucket}/zoo",), **settings))
    assert (again.assessed, again.reused) == (0, 4)
    # Other weights under the same name: the object's mark changes, and only that teacher is run.
    weights = (zoo / "ten_digits" / "model.pt2").read_bytes()
    fsspec.filesystem("s3").pipe_file(f"{bucket}/zoo/parity/model.pt2", weights)
    changed = assess(AssessSettings(repository=(f"{bucket}/zoo",), **settings))
    assert (changed.assessed, changed.reused) == (1, 3)
