"""A taste of ``fuzz.py``, the same contents every time."""

from __future__ import annotations

import pytest

from tests.teachers import fuzz


@pytest.mark.parametrize("name", fuzz.CHECKS)
def test_any_content_is_read_or_refused(name):
    fuzz.TRIED.clear()
    fuzz.fuzz(name, 150)
    # Both ends are reached: what is valid is not refused for another's fault.
    assert {outcome for _, outcome in fuzz.TRIED} >= {"loaded", "invalid when loaded"}
