"""A leaderboard with evidence whose right explanation is known by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rayxkd.leaderboard import Assessment, Leaderboard
from rayxkd.leaderboard.evidence import Evidence, EvidenceStore, ProbePictures
from rayxkd.storage import Storage
from tests.leaderboard.written import row, sha, write_board

CLASSES = ("daisy", "<script>alert(1)</script>")
LABELS_N = np.array([0, 0, 1, 1, 0, 1])


def evidence(teacher: Assessment, image_cost_N: np.ndarray, **changes: Any) -> Evidence:
    """Three teacher classes of which two are kept; the images lie as the costs say."""
    known: dict[str, Any] = {
        "repository": teacher.repository,
        "teacher": teacher.teacher,
        "teacher_digest": teacher.teacher_digest,
        "probe_digest": teacher.probe_digest,
        "config_digest": teacher.config_digest,
        "temperature": 1.0,
        "source_S": np.array([7, 3], dtype=np.int32),
        "source_names": ("ox-eye daisy, moon daisy", "<b>bee</b> \x1b[31m"),
        "map_SM": np.array([[0.3, 0.05], [0.05, 0.2]], dtype=np.float32),
        "cost_SM": np.array([[1.0, 3.0], [2.5, 0.5]], dtype=np.float32),
        "rest_M": np.array([0.15, 0.25], dtype=np.float32),
        "image_cost_N": image_cost_N.astype(np.float32),
        "nearest_N": np.array([0, 0, 1, 0, 1, 1], dtype=np.int32),
        "pictured_P": np.array([1, 3], dtype=np.int32),
        "top_names": (("ox-eye daisy, moon daisy", "bee"), ("bee", "ox-eye daisy")),
        "top_shares": ((0.75, 0.25), (0.5, 0.125)),
    }
    return Evidence(**(known | changes))


def probe(pictures: tuple[bytes | None, ...] = (None,) * 6) -> ProbePictures:
    shown_N = np.array([True, False, True, True, False, False])
    return ProbePictures(sha("photos"), LABELS_N, np.arange(6) * 10, CLASSES, pictures, shown_N)


def explained_board(folder: Path) -> Leaderboard:
    """Three teachers: the first costs less on every image, two others take turns; one failed."""
    costs = {
        "zoo/best": np.array([0.1, 0.2, 0.3, 0.6, 0.2, 0.1]),
        "zoo/even": np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]),
        "zoo/odd": np.array([2.0, 1.0, 2.0, 1.0, 2.0, 1.2]),
    }
    rows = [
        row(name, float(cost_N.mean()), half_width=1.0, minutes=place)
        for place, (name, cost_N) in enumerate(costs.items())
    ]
    failed = row("zoo/broken", reason="its card says no")
    address = write_board(folder, *rows, failed, class_names=list(CLASSES))
    store = EvidenceStore(Storage.at(address))
    store.write_pictures(probe())
    for one in rows:
        store.write(evidence(one, costs[one.teacher]))
    return Leaderboard.open(address)
