from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.simulation.link import SharedLink


def read_all(
    readers: list[tuple[float, float]], each: float, together: float, latency: float = 0.0
) -> list[float]:
    """When each of them, who begin at a time and read so many bytes, has all."""
    env = simpy.Environment()
    link = SharedLink(env, each, together, latency)
    ends = [math.nan] * len(readers)

    def reader(number: int, begins: float, size: float) -> Generator[simpy.Event, Any, None]:
        yield env.timeout(begins)
        yield from link.read(size)
        ends[number] = env.now

    for number, (begins, size) in enumerate(readers):
        env.process(reader(number, begins, size))
    env.run()
    return ends


def test_one_reader_alone() -> None:
    assert read_all([(0, 100)], each=10, together=1000, latency=2) == [12]
    assert read_all([(0, 100)], each=1000, together=10) == [10]
    assert read_all([(3, 100)], each=math.inf, together=math.inf) == [3]


def test_two_share_alike_while_both_read() -> None:
    # From 0 to 5 the first alone: 50 bytes. Then 5 a second each: it has all at 15, and the
    # second, which has 50 then, reads the other 50 alone by 20.
    ends = read_all([(0, 100), (5, 100)], each=10, together=10)
    assert ends == [pytest.approx(15), pytest.approx(20)]


def test_nobody_is_faster_than_alone() -> None:
    ends = read_all([(0, 100), (0, 100), (0, 40)], each=10, together=100)
    assert ends == [pytest.approx(10), pytest.approx(10), pytest.approx(4)]


def test_who_is_interrupted_leaves_his_share_to_the_others() -> None:
    env = simpy.Environment()
    link = SharedLink(env, 10.0, 10.0, 0.0)
    ends: list[float] = []

    def reader() -> Generator[simpy.Event, Any, None]:
        try:
            yield from link.read(100.0)
        except simpy.Interrupt:
            return
        ends.append(env.now)

    env.process(reader())
    leaver = env.process(reader())
    env.timeout(4.0).callbacks.append(lambda _: leaver.interrupt())
    env.run()
    assert ends == [pytest.approx(12.0)]  # 20 bytes by 4, and 80 more at 10 a second


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 500)), min_size=1, max_size=30),
    st.floats(0.5, 20),
    st.floats(0.5, 100),
)
def test_the_link_carries_no_more_than_it_can(
    readers: list[tuple[float, float]], each: float, together: float
) -> None:
    ends = read_all(readers, each, together)
    fastest = min(each, together)
    for (begins, size), end in zip(readers, ends, strict=True):
        assert end >= begins + size / fastest - 1e-6
    first = min(begins for begins, _ in readers)
    total = sum(size for _, size in readers)
    assert max(ends) >= first + total / together - 1e-6
    # And it never rests while somebody reads.
    assert max(ends) <= max(begins for begins, _ in readers) + total / fastest + 1e-6
