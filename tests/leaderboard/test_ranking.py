"""Who stands where, and who is as good as the leader."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayxkd.leaderboard.ranking import ranked_table
from rayxkd.status import Status
from tests.leaderboard.builders import SCHEMA, assessment


def ranked(*rows):
    table = ranked_table(rows, SCHEMA).select(["rank", "teacher", "tied"])
    return [tuple(row.values()) for row in table.to_pylist()]


def test_ok_teachers_are_sorted_by_cost():
    rows = [assessment("a", cost=3.0), assessment("b", cost=1.0), assessment("c", cost=2.0)]
    assert ranked(*rows) == [(1, "b", False), (2, "c", False), (3, "a", False)]


def test_failures_come_last_by_name_without_a_rank():
    """Not even one that a race stopped while its cost was the least of all."""
    stopped = replace(assessment("m", cost=0.1), status=Status.ELIMINATED)
    rows = [assessment("z"), stopped, assessment("b", cost=9.0), assessment("a")]
    assert ranked(*rows) == [
        (1, "b", False),
        (None, "a", None),
        (None, "m", None),
        (None, "z", None),
    ]


def test_teachers_whose_interval_overlaps_the_leaders_are_tied_with_it():
    rows = [
        assessment("leader", cost=1.0, half_width=0.25),
        assessment("overlaps", cost=1.4, half_width=0.2),
        assessment("touches", cost=1.5, half_width=0.25),
        # It overlaps the one before, but ties are with the leader.
        assessment("apart", cost=1.6, half_width=0.3),
    ]
    assert [tied for _, _, tied in ranked(*rows)] == [True, True, True, False]


def test_a_wide_interval_behind_a_narrow_one_is_tied_too():
    rows = [
        assessment("leader", cost=1.0, half_width=0.1),
        assessment("narrow", cost=2.0, half_width=0.1),
        assessment("wide", cost=3.0, half_width=2.0),
    ]
    assert [tied for _, _, tied in ranked(*rows)] == [True, False, True]


def test_a_lone_leader_is_not_tied():
    assert ranked(assessment("a", cost=1.0)) == [(1, "a", False)]
    rows = [assessment("a", cost=1.0), assessment("b", cost=2.0), assessment("c")]
    assert [tied for _, _, tied in ranked(*rows)] == [False, False, None]


def test_a_failure_is_never_tied():
    rows = [assessment("a", cost=1.0), replace(assessment("b", cost=1.0), status=Status.TIMEOUT)]
    assert [tied for _, _, tied in ranked(*rows)] == [False, None]


def test_equal_costs_are_sorted_by_name():
    rows = [assessment(name, cost=1.0) for name in ("c", "a", "b")]
    assert ranked(*rows) == [(1, "a", True), (2, "b", True), (3, "c", True)]


def test_without_intervals_equal_costs_are_tied():
    bare = {"transport_cost_low": None, "transport_cost_high": None}
    rows = [assessment(name, cost=cost, **bare) for name, cost in (("a", 1), ("b", 1), ("c", 2))]
    assert [tied for _, _, tied in ranked(*rows)] == [True, True, False]


def test_nobody_is_an_empty_table_with_all_columns():
    table = ranked_table([], SCHEMA)
    assert table.num_rows == 0
    assert table.schema.equals(SCHEMA, check_metadata=True)


def test_an_ok_row_without_a_cost_is_a_programming_error():
    with pytest.raises(ValueError, match="x is ok but has no transport cost"):
        ranked_table([assessment("x", status=Status.OK)], SCHEMA)


ROWS = st.lists(
    st.builds(
        lambda name, cost, half_width, status: replace(
            assessment(name, cost=cost, half_width=half_width), status=status
        ),
        st.text("abc", min_size=1, max_size=3),
        st.integers(0, 6).map(float),
        st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        st.sampled_from([Status.OK, Status.OK, *Status]),
    ),
    max_size=12,
    unique_by=lambda row: row.teacher,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=ROWS)
def test_whatever_the_rows_the_table_is_ranked(rows):
    table = ranked_table(rows, SCHEMA).to_pylist()
    good = [row for row in table if row["status"] == "ok"]
    failed = table[len(good) :]

    assert sorted(row["teacher"] for row in table) == sorted(row.teacher for row in rows)
    assert table[: len(good)] == good
    assert [row["rank"] for row in good] == list(range(1, len(good) + 1))
    keys = [(row["transport_cost"], row["teacher"]) for row in good]
    assert keys == sorted(keys)
    assert all(row["rank"] is None and row["tied"] is None for row in failed)
    for row in good[1:]:
        assert row["tied"] == (row["transport_cost_low"] <= good[0]["transport_cost_high"])
    if good:
        assert good[0]["tied"] == any(row["tied"] for row in good[1:])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(rows=ROWS, seed=st.randoms())
def test_order_of_arrival_does_not_matter(rows, seed):
    shuffled = seed.sample(rows, len(rows))
    assert ranked_table(shuffled, SCHEMA).equals(ranked_table(rows, SCHEMA))
