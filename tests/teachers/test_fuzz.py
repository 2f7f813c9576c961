"""A taste of ``fuzz.py``, the same contents every time."""

from __future__ import annotations

import json

import pytest

from tests.teachers import fuzz


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("cards", json.dumps(fuzz.CARD).encode()),
        ("weights", fuzz.valid_weights()),
        ("transformers", json.dumps(fuzz.TRANSFORMERS_CARD).encode()),
    ],
)
def test_any_content_is_read_or_refused(name, valid):
    fuzz.TRIED.clear()
    fuzz.CHECKS[name][0](valid)
    assert {outcome for _, outcome in fuzz.TRIED} <= {"read", "loaded"}
    fuzz.fuzz(name, 150)
    assert {outcome for _, outcome in fuzz.TRIED} & {"invalid", "invalid when loaded"}
