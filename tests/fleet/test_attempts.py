"""Whether a job is tried again whose process ended."""

from __future__ import annotations

from collections import deque

import pytest

from rayxkd.fleet.attempts import MOST_ATTEMPTS, Attempts, Try

KILLED = "Killed (SIGKILL)"


@pytest.fixture
def queue() -> deque[Try[str]]:
    return deque()


def doubt(attempts: Attempts[str], queue: deque[Try[str]], job: str) -> None:
    """Its process ends twice."""
    attempts.process_ended(Try(job), queue, KILLED)
    attempts.process_ended(queue.pop(), queue, KILLED)


def test_a_first_end_is_no_reason_to_doubt(queue: deque[Try[str]]) -> None:
    attempts: Attempts[str] = Attempts()
    queue.append(Try("other"))
    attempts.process_ended(Try("a"), queue, KILLED)
    assert [(tried.job, tried.attempts, tried.ended) for tried in queue] == [
        ("other", 1, ""),
        ("a", 2, KILLED),
    ]
    assert list(attempts.judged(queue, [])) == []


@pytest.mark.parametrize("at_work", [True, False])
def test_a_doubtful_job_waits_for_those_that_may_clear_it(
    queue: deque[Try[str]], *, at_work: bool
) -> None:
    attempts: Attempts[str] = Attempts()
    doubt(attempts, queue, "a")
    attempts.process_ended(Try("b"), queue, KILLED)
    others = [queue.pop()] if at_work else []
    assert list(attempts.judged(queue, others)) == []
    attempts.succeeded(Try("b", attempts=2, ended="killed"))
    queue.clear()
    assert list(attempts.judged(queue, [])) == []
    assert [(tried.job, tried.attempts) for tried in queue] == [("a", 3)]


def test_without_one_that_may_clear_it_it_is_given_up_at_once(queue: deque[Try[str]]) -> None:
    attempts: Attempts[str] = Attempts()
    doubt(attempts, queue, "a")
    queue.append(Try("other"))
    (given_up,) = attempts.judged(queue, [Try("one"), Try("raised", attempts=2)])
    assert (given_up.job, given_up.failure, given_up.attempts) == ("a", "crashed", 2)
    assert given_up.reason == "its process ended while it ran: Killed (SIGKILL), 2 times"
    assert list(attempts.judged(queue, [])) == list(attempts.given_up()) == []
    assert [tried.job for tried in queue] == ["other"]


def test_what_fails_otherwise_and_is_done_then_clears_nobody(queue: deque[Try[str]]) -> None:
    attempts: Attempts[str] = Attempts()
    attempts.succeeded(Try("a folder was gone", attempts=2))
    doubt(attempts, queue, "a")
    assert [one.job for one in attempts.judged(queue, [])] == ["a"]


def test_there_is_an_end(queue: deque[Try[str]]) -> None:
    attempts: Attempts[str] = Attempts()
    attempts.succeeded(Try("cleared", attempts=2, ended="killed"))
    doubt(attempts, queue, "a")
    for attempt in range(3, MOST_ATTEMPTS + 1):
        assert list(attempts.judged(queue, [])) == []
        tried = queue.pop()
        assert tried.attempts == attempt
        attempts.process_ended(tried, queue, KILLED)
    (given_up,) = attempts.judged(queue, [])
    assert (given_up.attempts, len(queue)) == (MOST_ATTEMPTS, 0)
