"""Scans that are told what the class names mean."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

from rayxkd.assess import AssessSettings, assess
from rayxkd.assess.names import NameVectors, open_name_vectors
from rayxkd.assess.scan import ScanReport
from rayxkd.data import open_image_set, sample_probe_set
from rayxkd.data.digits import DIGIT_NAMES
from rayxkd.errors import UserError
from rayxkd.teachers import (
    ProbePixels,
    TeacherCard,
    load_teacher,
    open_repositories,
    predict,
)
from rayxkd.transport import LearnedCost, Predictions, score_transport, stratified_folds
from rayxkd.transport.costs import SemanticCost
from tests.assess.test_scan import Scan, rows_of

TARGETS = DIGIT_NAMES[5:]
# Digits that share strokes lie near one another; none is at right angles to all others.
VECTORS: dict[str, NDArray[np.float32]] = {
    name: np.eye(10, dtype=np.float32)[digit] + 0.1 * np.eye(10, dtype=np.float32)[digit - 3]
    for digit, name in enumerate(DIGIT_NAMES)
}
# Settings of before there were class vectors, and their digests as they were then.
OLD_DIGESTS = {
    "2f7c13b802c95cc508ec5762335bd372c1ce7d8d9b3ebd38461b54f3e0ced8fe": (
        AssessSettings(),
        "labels",
    ),
    "fb9e7756b8cada1e5adadc23ca67b3d21037422b595cdb52dbe5d263c628f2c7": (
        AssessSettings(cost="prototype", temperature=2.0, metrics=("nce", "leep"), seed=3),
        "r" * 64,
    ),
}


def write_npz(path: Path, vectors: Mapping[str, NDArray[Any]]) -> str:
    np.savez(path, names=np.array(list(vectors)), vectors=np.stack(list(vectors.values())))
    return str(path)


def write_parquet(path: Path, vectors: Mapping[str, NDArray[Any]]) -> str:
    rows = pa.array([list(vector) for vector in vectors.values()], pa.list_(pa.float32()))
    pq.write_table(pa.table({"name": list(vectors), "vector": rows}), path)
    return str(path)


@pytest.fixture
def vectors(tmp_path: Path) -> str:
    """A vector for each digit's name; none for 'even' and 'odd'."""
    return write_parquet(tmp_path / "vectors.parquet", VECTORS)


def change_names(zoo: Path, teacher: str, names: Sequence[str]) -> None:
    card = zoo / teacher / "config.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"label_names": list(names)}))


def asked(zoo: Path, teacher: str, size: int = 512) -> tuple[Predictions, torch.Tensor]:
    """What a teacher says of the demo's task, and the labels."""
    probe = sample_probe_set(open_image_set("demo://"), size)
    repository = open_repositories([str(zoo / teacher)])[0]
    (card,) = repository.cards()
    assert isinstance(card, TeacherCard)
    with repository.weights(card) as weights:
        loaded = load_teacher(card, weights, torch.device("cpu"))
        return predict(loaded, ProbePixels(probe)), torch.from_numpy(probe.labels_N)


def told(report: ScanReport, column: str) -> dict[str, Any]:
    return {name.removeprefix("zoo/"): row[column] for name, row in rows_of(report).items()}


@pytest.mark.parametrize("temperature", [None, 2.0])
def test_costs_shrink_towards_those_of_the_names(
    scan: Scan, zoo: Path, vectors: str, temperature: float | None
) -> None:
    report = scan(class_vectors=vectors, temperature=temperature, probe_size=25)
    assert report.statuses == {"ok": 4}
    predictions, labels_N = asked(zoo, "low_digits", 25)
    cost = LearnedCost(towards=SemanticCost(TARGETS, VECTORS, DIGIT_NAMES[:5]))
    if temperature is not None:
        cost = cost.at_temperature(temperature)
    fitted = cost.cross_fit(predictions, labels_N, 5, stratified_folds(labels_N, 5))
    target_NM = torch.nn.functional.one_hot(labels_N, 5).double()
    expected = score_transport(predictions, target_NM, fitted)
    row = rows_of(report)["zoo/low_digits"]
    assert row["transport_cost"] == pytest.approx(expected.cost, abs=1e-9)
    assert (row["transport_cost_low"], row["transport_cost_high"]) == expected.interval()
    assert row["temperature"] == fitted.costs[0].temperature
    assert temperature is None or row["temperature"] == temperature
    assert report.leaderboard.cost_unit == "nats"


def test_a_row_says_what_its_cost_shrinks_towards(
    scan: Scan, zoo: Path, vectors: str, tmp_path: Path
) -> None:
    """Teachers whose names say nothing are assessed as if there were no vectors."""
    change_names(zoo, "low_digits", [])
    plain = scan(out=str(tmp_path / "plain"))
    report = scan(class_vectors=vectors)
    assert set(told(plain, "cost_prior").values()) == {"cooccurrence"}
    assert told(report, "cost_prior") == {
        "ten_digits": "semantic",
        "shuffled_labels": "semantic",
        "low_digits": "cooccurrence",
        "parity": "cooccurrence",
    }
    before, after = told(plain, "transport_cost"), told(report, "transport_cost")
    same = {name for name in after if after[name] == before[name]}
    assert same == {"low_digits", "parity"}
    field = report.leaderboard.table.schema.field("cost_prior")
    assert b"semantic" in field.metadata[b"description"]


def test_one_name_without_a_vector_is_enough_to_go_without(
    scan: Scan, zoo: Path, vectors: str
) -> None:
    change_names(zoo, "low_digits", [*DIGIT_NAMES[:4], "Four"])
    assert told(scan(class_vectors=vectors), "cost_prior")["low_digits"] == "cooccurrence"


def test_other_costs_have_no_prior_and_failures_none(scan: Scan, zoo: Path, tmp_path: Path) -> None:
    report = scan(cost="cooccurrence", out=str(tmp_path / "other"))
    assert set(told(report, "cost_prior").values()) == {None}
    (zoo / "parity" / "model.pt2").write_bytes(b"")
    assert told(scan(), "cost_prior")["parity"] is None


def test_names_help_where_labels_are_few(scan: Scan, vectors: str, tmp_path: Path) -> None:
    """Two images a class; the leader's classes have the task's own names."""
    plain = told(scan(probe_size=10, out=str(tmp_path / "plain")), "transport_cost")
    named = told(scan(probe_size=10, class_vectors=vectors), "transport_cost")
    assert named["ten_digits"] < plain["ten_digits"] / 4
    # Names of a teacher that learnt noise are as good as any, and images overrule them.
    assert named["shuffled_labels"] > 1.3


def test_through_ray_it_is_the_same(scan: Scan, vectors: str, tmp_path: Path) -> None:
    here = scan(class_vectors=vectors, out=str(tmp_path / "here"))
    there = scan(class_vectors=vectors, workers=1)
    assert told(there, "cost_prior") == told(here, "cost_prior")
    assert set(told(there, "cost_prior").values()) == {"semantic", "cooccurrence"}
    assert told(there, "transport_cost") == pytest.approx(told(here, "transport_cost"), abs=1e-5)
    assert told(there, "config_digest") == told(here, "config_digest")


def test_a_second_run_assesses_nothing_and_another_setting_is_refused(
    scan: Scan, vectors: str, tmp_path: Path
) -> None:
    first = scan(class_vectors=vectors)
    second = scan(class_vectors=vectors)
    assert (second.assessed, second.reused, second.workers) == (0, 4, 0)
    assert first.leaderboard.table.equals(second.leaderboard.table)
    with pytest.raises(UserError, match=r"--class-vectors .*vectors\.parquet, not \(default\)"):
        scan()
    plain = str(tmp_path / "plain")
    scan(out=plain)
    with pytest.raises(UserError, match=r"--class-vectors \(default\), not .*vectors\.parquet"):
        scan(class_vectors=vectors, out=plain)
    assert scan(class_vectors=vectors, out=plain, fresh=True).assessed == 4


def test_other_vectors_at_the_same_address_assess_all_again(
    scan: Scan, vectors: str, tmp_path: Path
) -> None:
    before = scan(class_vectors=vectors)
    write_parquet(Path(vectors), dict(reversed(VECTORS.items())))
    assert scan(class_vectors=vectors).assessed == 0, "the order of names says nothing"
    write_parquet(Path(vectors), VECTORS | {"even": VECTORS["two"], "odd": VECTORS["one"]})
    after = scan(class_vectors=vectors)
    assert (after.assessed, after.reused) == (4, 0)
    assert told(after, "cost_prior")["parity"] == "semantic"
    assert told(after, "config_digest") != told(before, "config_digest")


def test_a_leaderboard_of_before_there_were_vectors_goes_on(scan: Scan, tmp_path: Path) -> None:
    first = scan()
    # As the last version left it: no such setting, no such column.
    board = tmp_path / "board"
    note = json.loads((board / "scan.json").read_text())
    assert note["settings"].pop("class-vectors") is None
    (board / "scan.json").write_text(json.dumps(note))
    parts = sorted((board / "parts").iterdir())
    for part in parts:
        pq.write_table(pq.read_table(part).drop_columns(["cost_prior"]), part)
    second = scan()
    assert (second.assessed, second.reused) == (0, 4)
    kept = ["rank", "teacher", "transport_cost", "config_digest", "finished_at"]
    assert second.leaderboard.table.select(kept).equals(first.leaderboard.table.select(kept))
    assert set(told(second, "cost_prior").values()) == {None}, "nobody noted it then"
    parts[0].unlink()
    assert scan().assessed == 1


def test_without_vectors_every_digest_is_what_it_was() -> None:
    for digest, (settings, reference) in OLD_DIGESTS.items():
        assert settings.scoring().digest(reference) == digest
        named = settings.scoring().digest(reference, "v" * 64)
        assert named != digest
        assert named != settings.scoring().digest(reference, "w" * 64)


def test_the_digest_is_that_of_names_and_vectors(tmp_path: Path) -> None:
    def digest(path: str) -> str:
        return open_name_vectors(path, TARGETS).digest

    known = digest(write_npz(tmp_path / "a.npz", VECTORS))
    doubles = {name: vector.astype(np.float64) for name, vector in VECTORS.items()}
    assert digest(write_parquet(tmp_path / "b.parquet", VECTORS)) == known
    assert digest(write_npz(tmp_path / "c.npz", doubles)) == known
    assert digest(write_npz(tmp_path / "d.npz", dict(reversed(VECTORS.items())))) == known
    others = (
        VECTORS | {"five": VECTORS["six"], "six": VECTORS["five"]},
        VECTORS | {"ten": VECTORS["six"]},
        VECTORS | {"five": VECTORS["five"] + np.float32(1e-6)},
        {name: np.append(vector, np.float32(0)) for name, vector in VECTORS.items()},
    )
    found = {digest(write_npz(tmp_path / "e.npz", other)) for other in others}
    assert len(found | {known}) == 5


def test_a_digest_does_not_run_names_together() -> None:
    rows = np.ones((2, 1))
    assert NameVectors(("a", "bc"), rows).digest != NameVectors(("ab", "c"), rows).digest


def test_target_names_without_vectors_are_told_before_anything_is_read(
    scan: Scan, tmp_path: Path
) -> None:
    few = write_npz(tmp_path / "few.npz", {name: VECTORS[name] for name in DIGIT_NAMES[:6]})
    # Neither the repository nor the student is there: nobody has looked.
    with pytest.raises(UserError, match="no vector for 4 of the task's 5 classes") as caught:
        scan(class_vectors=few, repository=("nowhere",))
    assert f"--class-vectors {few}" in str(caught.value)
    assert "('six', 'seven', 'eight', ...): add them" in str(caught.value)
    one = write_npz(tmp_path / "one.npz", {n: v for n, v in VECTORS.items() if n != "six"})
    with pytest.raises(UserError, match=r"1 of the task's 5 classes \('six'\): add them"):
        scan(class_vectors=one)
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("cost", ["cooccurrence", "prototype"])
def test_only_the_learned_cost_takes_vectors(scan: Scan, vectors: str, cost: str) -> None:
    with pytest.raises(UserError, match=f"works with --cost learned only, not {cost}: leave one"):
        scan(class_vectors=vectors, cost=cost)


def test_a_file_that_cannot_be_read_is_told(scan: Scan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is nothing at nowhere: check the address of"):
        scan(class_vectors="nowhere")
    (tmp_path / "vectors.csv").write_text("five,1.0")
    with pytest.raises(UserError, match=r"vectors\.csv holds no class vectors: give Parquet"):
        scan(class_vectors=str(tmp_path / "vectors.csv"))
    assert not (tmp_path / "board").exists()


def said(zoo: Path, out: Path, vectors: str | None) -> str:
    console = Console(file=io.StringIO(), width=60)
    settings = AssessSettings(
        repository=(str(zoo),), out=str(out), workers=0, class_vectors=vectors
    )
    assess(settings, console)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_the_user_is_told_who_goes_without_and_for_want_of_what(
    zoo: Path, vectors: str, tmp_path: Path
) -> None:
    change_names(zoo, "low_digits", [])
    change_names(zoo, "shuffled_labels", [*DIGIT_NAMES[:9], "[bold]\n"])
    (zoo / "parity" / "model.pt2").unlink()  # no teacher, so none that goes without
    line = next(
        line for line in said(zoo, tmp_path / "a", vectors).splitlines() if "--class-v" in line
    )
    assert line == (
        "--class-vectors: 2 of 3 teachers have classes without a vector and are assessed without: "
        "zoo/low_digits (names no classes), zoo/shuffled_labels ('[bold]\\n')"
    )
    assert "--class-vectors" not in said(zoo, tmp_path / "b", None)
    for teacher in ("low_digits", "shuffled_labels"):
        change_names(zoo, teacher, DIGIT_NAMES[: 5 if teacher == "low_digits" else 10])
    assert "--class-vectors" not in said(zoo, tmp_path / "c", vectors)
