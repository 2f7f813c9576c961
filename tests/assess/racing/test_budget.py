"""What a budget may be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rayxkd.assess import AssessSettings
from rayxkd.assess.racing.budget import Budget
from rayxkd.assess.racing.scan import Watch
from rayxkd.errors import UserError


def test_times_images_and_shares() -> None:
    assert Budget.of(timedelta(minutes=30)) == Budget(seconds=1800)
    assert Budget.of("20000img") == Budget.of("20000 images") == Budget(images=20_000)
    assert Budget.of(" 30% ") == Budget(share=0.3)
    assert Budget.of("30%").images_of(1000) == 300
    assert Budget.of("12.5 %").images_of(1000) == 125
    assert Budget.of("7img").images_of(1000) == 7
    assert Budget.of(timedelta(hours=1)).images_of(1000) is None


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("soon", "give a time"),
        ("30", "give a time"),
        ("-5img", "give a time"),
        ("1e3img", "give a time"),
        ("0%", "above 0 %"),
        ("101%", "at most 100 %"),
        ("0img", "whole number"),
        ("2.5img", "whole number"),
        (timedelta(0), "above zero"),
    ],
)
def test_all_else_is_refused_before_anything_starts(given: str | timedelta, match: str) -> None:
    with pytest.raises(UserError, match=match):
        AssessSettings(budget=given).check()


def test_at_least_one_teacher_is_kept() -> None:
    with pytest.raises(UserError, match="--keep must be above zero"):
        AssessSettings(budget="30%", keep=0).check()


def test_time_is_converted_at_the_speed_so_far() -> None:
    clock = [0.0]
    watch = Watch(Budget(seconds=100), lambda: clock[0])
    assert watch.images_left is None
    watch.count(400)
    clock[0] = 40.0
    assert watch.goes_on
    assert watch.images_left == int(0.9 * 60 * 10)
    clock[0] = 100.0
    assert not watch.goes_on
    assert watch.images_left == 0
    assert Watch(Budget(share=0.3)).images_left is None
