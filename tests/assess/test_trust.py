"""Which teachers a scan admits, from its options to its rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from rayxkd.assess.scan import ScanReport

Scan = Callable[..., ScanReport]


def outcomes(report: ScanReport) -> dict[str, tuple[str, str]]:
    rows = report.leaderboard.table.to_pylist()
    return {row["teacher"].partition("/")[2]: (row["status"], row["reason"]) for row in rows}


def test_only_allowed_licences_are_loaded(scan: Scan, zoo: Path) -> None:
    card = zoo / "parity/config.json"
    entries = json.loads(card.read_text())
    entries["pretrained_cfg"]["license"] = "proprietary"
    card.write_text(json.dumps(entries))
    found = outcomes(scan(license=("Apache-2.0", "mit")))
    status, reason = found.pop("parity")
    assert status == "untrusted"
    assert "proprietary" in reason
    assert {status for status, _ in found.values()} == {"ok"}


def test_only_pinned_weights_are_loaded(scan: Scan, zoo: Path, tmp_path: Path) -> None:
    """One is as pinned, one has other weights, one another card, and one has no pin."""
    lines = []
    for name in ("ten_digits", "parity", "low_digits"):
        for file in ("config.json", "model.pt2"):
            content = (zoo / name / file).read_bytes()
            lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}/{file}")
    pins = tmp_path / "pins"
    pins.write_text("\n".join(lines) + "\n")
    (zoo / "parity/model.pt2").write_bytes((zoo / "ten_digits/model.pt2").read_bytes())
    with (zoo / "low_digits/config.json").open("a") as card:
        card.write(" ")
    found = outcomes(scan(pins=str(pins)))
    assert found.pop("ten_digits") == ("ok", "")
    assert {status for status, _ in found.values()} == {"untrusted"}
    assert "the pinned one is" in found["parity"][1]
    assert "config.json" in found["low_digits"][1]
    assert f"no SHA-256 in {pins}" in found["shuffled_labels"][1]
