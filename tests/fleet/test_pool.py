"""The pool on a real cluster, with actors that misbehave in every way."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rayxkd.errors import UserError
from rayxkd.fleet.actor_pool import ActorPool
from rayxkd.fleet.outcome import Ended, Outcome, Overdue, Raised, Returned, StartError
from rayxkd.fleet.patience import Patience
from rayxkd.fleet.pool import Finished

# How often the process of such a job ends before the job is done.
TIMES = {"once": 1, "twice": 2, "thrice": 3}


class Misbehaving:
    """Does what its job says."""

    def ready(self) -> bool:
        return True

    def run(self, job: str) -> str | Outcome:
        if job == "end":
            return Ended(3)
        if job == "die":
            os._exit(3)
        if job == "raise":
            raise ZeroDivisionError("division by zero")
        if job == "hang":
            time.sleep(3600)
        times, _, marks = job.partition(":")
        if times in TIMES:
            done = len(list(Path(marks).parent.glob(f"{Path(marks).name}*")))
            if done < TIMES[times]:
                Path(f"{marks}{done}").touch()
                return Ended(-signal.SIGKILL)
        return job.upper()


class Sick(Misbehaving):
    """What the first actor of a machine does when its folder was taken away: it always fails."""

    def __init__(self, marker: Path) -> None:
        self._is_sick = not marker.exists()
        marker.touch()

    def run(self, job: str) -> str | Outcome:
        if self._is_sick or job == "sick":
            raise FileNotFoundError(2, "No such file or directory")
        return super().run(job)


class NeverReady(Misbehaving):
    def __init__(self) -> None:
        raise RuntimeError("no such device")


def run_jobs(
    ray: Any,
    jobs: list[str],
    *,
    workers: int = 2,
    timeout: float | None = None,
    actor: type = Misbehaving,
    results: int = 1000,
) -> list[Finished[str]]:
    """Run jobs; none is begun once there are so many results."""
    remote = ray.remote(actor).options(num_cpus=0.1)
    pool: ActorPool[str] = ActorPool(ray, remote.remote, workers, timeout)
    finished: list[Finished[str]] = []
    for result in pool.run(jobs, lambda: len(finished) < results):
        finished.append(result)
    return finished


def test_every_job_ends_once(ray_session: Any) -> None:
    jobs = [f"job {number}" for number in range(20)]
    finished = run_jobs(ray_session, jobs)
    assert sorted(result.job for result in finished) == sorted(jobs)
    assert all(result.value == result.job.upper() for result in finished)
    assert all(result.attempts == 1 and not result.failure for result in finished)


def test_one_actor_takes_jobs_in_the_order_given(ray_session: Any) -> None:
    jobs = ["c", "a", "d", "b"]
    assert [result.job for result in run_jobs(ray_session, jobs, workers=1)] == jobs


def test_bad_jobs_cost_only_themselves(ray_session: Any) -> None:
    jobs = ["one", "end", "two", "raise", "three", "hang", "four"]
    finished = {
        result.job: result for result in run_jobs(ray_session, jobs, timeout=5.0, workers=2)
    }
    assert finished.keys() == set(jobs)
    assert [finished[job].value for job in ("one", "two", "three", "four")] == [
        "ONE",
        "TWO",
        "THREE",
        "FOUR",
    ]
    assert (finished["end"].failure, finished["end"].attempts) == ("crashed", 2)
    assert finished["end"].reason == "its process ended while it ran: exit code 3, 2 times"
    assert finished["raise"].failure == "crashed"
    assert "division by zero" in finished["raise"].reason
    assert (finished["hang"].failure, finished["hang"].attempts) == ("timeout", 1)
    assert "--timeout 5" in finished["hang"].reason


def test_a_job_that_loses_its_process_is_tried_again(ray_session: Any, tmp_path: Any) -> None:
    job = f"once:{tmp_path / 'marker'}"
    (result,) = run_jobs(ray_session, [job])
    assert result.value == job.upper()
    assert result.attempts == 2


def test_a_job_that_loses_its_process_twice_is_given_up(ray_session: Any, tmp_path: Path) -> None:
    finished = run_jobs(ray_session, [f"twice:{tmp_path / 'marker'}", "one"])
    failed = {result.job: result for result in finished}[f"twice:{tmp_path / 'marker'}"]
    assert (failed.failure, failed.attempts) == ("crashed", 2)
    assert failed.reason.endswith("Killed (SIGKILL), 2 times")


@pytest.mark.parametrize("workers", [1, 2])
def test_where_processes_are_killed_from_outside_no_job_is_given_up_for_it(
    ray_session: Any, tmp_path: Path, workers: int
) -> None:
    """That one job is done in its second attempt shows it, before or after others end again."""
    thrice, once = (f"{times}:{tmp_path / times}" for times in ("thrice", "once"))
    finished = run_jobs(ray_session, [thrice, once, "end"], workers=workers)
    found = {result.job: result for result in finished}
    assert len(finished) == len(found) == 3
    assert (found[thrice].value, found[thrice].attempts) == (thrice.upper(), 4)
    assert (found[once].value, found[once].attempts) == (once.upper(), 2)
    assert (found["end"].failure, found["end"].attempts) == ("crashed", 4)


def test_the_others_go_before_a_second_attempt(ray_session: Any, tmp_path: Path) -> None:
    jobs = [f"once:{tmp_path / 'marker'}", "one", "two"]
    finished = run_jobs(ray_session, jobs, workers=1)
    assert [result.job for result in finished] == [*jobs[1:], jobs[0]]


def test_an_actor_that_fails_by_itself_is_replaced(ray_session: Any, tmp_path: Path) -> None:
    remote = ray_session.remote(Sick).options(num_cpus=0.1)
    marker = tmp_path / "marker"
    pool: ActorPool[str] = ActorPool(ray_session, lambda: remote.remote(marker), 1, None)
    finished = {result.job: result for result in pool.run(["one", "two", "sick"], lambda: True)}
    assert [finished[job].value for job in ("one", "two")] == ["ONE", "TWO"]
    assert [finished[job].attempts for job in ("one", "two", "sick")] == [2, 1, 2]
    assert finished["sick"].failure == "crashed"
    assert finished["sick"].reason.endswith("No such file or directory, 2 times")


def test_no_job_is_begun_after_the_stop(ray_session: Any) -> None:
    jobs = [f"job {number}" for number in range(50)]
    finished = run_jobs(ray_session, jobs, workers=1, results=3)
    # What was running when the stop came is still finished.
    assert 3 <= len(finished) <= 4


def test_actors_that_never_start_are_an_error(ray_session: Any) -> None:
    with pytest.raises(UserError, match=r"workers do not start: .*no such device"):
        run_jobs(ray_session, ["a", "b"], actor=NeverReady)


def test_no_jobs_need_no_actor() -> None:
    def refuse() -> Any:
        raise AssertionError("an actor was started")

    pool: ActorPool[str] = ActorPool(None, refuse, 2, None)
    assert list(pool.run([], lambda: True)) == []


class Outliving:
    """An actor whose jobs are done by another process: it tells how they ended, and lives on."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def ready(self) -> bool:
        return True

    def run(self, job: str) -> Outcome:
        self.done.append(job)
        if job == "lost":
            raise StartError("the process that starts workers ended")
        outcomes: dict[str, Outcome] = {
            "segfault": Ended(-signal.SIGSEGV),
            "late": Overdue(),
            "wrong": Raised("division by zero"),
            "full": Raised("No space left on device", is_files=True),
            "refused": Raised("no more", is_memory=True),
        }
        return outcomes.get(job, Returned(pickle.dumps(list(self.done))))


def test_an_actor_that_tells_how_its_job_ended_takes_the_next(ray_session: Any) -> None:
    jobs = ["one", "segfault", "late", "wrong", "refused", "two"]
    finished = run_jobs(ray_session, jobs, workers=1, timeout=7.0, actor=Outliving)
    found = {result.job: result for result in finished}
    assert len(finished) == len(found) == len(jobs)
    assert found["two"].value == jobs, "by one actor"
    assert {job: (found[job].failure, found[job].attempts) for job in jobs} == {
        "one": ("", 1),
        "segfault": ("crashed", 2),
        "late": ("timeout", 1),
        "wrong": ("crashed", 1),
        "refused": ("out_of_memory", 1),
        "two": ("", 1),
    }
    assert found["segfault"].reason == (
        "its process ended while it ran: Segmentation fault (SIGSEGV), 2 times"
    )
    assert found["late"].reason == "it took longer than --timeout 7 s"
    assert found["wrong"].reason == "assessing it failed: division by zero"


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ("full", "No space left on device, 2 times"),
        ("lost", "the process that starts workers ended, 5 times"),
    ],
)
def test_an_actor_that_cannot_go_on_is_replaced(ray_session: Any, job: str, told: str) -> None:
    finished = run_jobs(ray_session, [job, "two"], workers=1, actor=Outliving)
    found = {result.job: result for result in finished}
    assert found["two"].value == ["two"], "by another actor"
    assert found[job].failure == "crashed"
    assert found[job].reason.endswith(told)


def test_an_actor_that_keeps_deadlines_may_tell_of_them_itself(ray_session: Any) -> None:
    """Its own word counts within the grace; one that says nothing loses its job all the same."""
    remote = ray_session.remote(Misbehaving).options(num_cpus=0.1)
    pool: ActorPool[str] = ActorPool(ray_session, remote.remote, 1, 1.0, grace=2.0)
    began = time.monotonic()
    (result,) = pool.run(["hang"], lambda: True)
    assert time.monotonic() - began >= 3.0
    assert (result.failure, result.reason) == ("timeout", "it took longer than --timeout 1 s")


def test_actors_are_given_what_is_made_of_a_job(ray_session: Any) -> None:
    remote = ray_session.remote(Misbehaving).options(num_cpus=0.1)
    pool: ActorPool[int] = ActorPool(
        ray_session, remote.remote, 1, None, pack=lambda job: f"n{job}"
    )
    assert [(one.job, one.value) for one in pool.run([1, 2], lambda: True)] == [
        (1, "N1"),
        (2, "N2"),
    ]


class Mortal(Misbehaving):
    """Is killed while it has a job, as often as the job says."""

    def run(self, job: str) -> str | Outcome:
        told = super().run(job)
        if isinstance(told, Ended):
            os._exit(4)
        return told


@pytest.mark.parametrize("times", ["once", "thrice"])
def test_the_loss_of_an_actor_counts_against_no_job(
    ray_session: Any, tmp_path: Path, times: str
) -> None:
    job = f"{times}:{tmp_path / 'marker'}"
    (result,) = run_jobs(ray_session, [job], actor=Mortal)
    assert (result.value, result.attempts) == (job.upper(), 1)


def test_a_job_whose_actors_are_always_lost_ends(ray_session: Any) -> None:
    (result,) = run_jobs(ray_session, ["die"])
    assert result.failure == "crashed"
    assert result.reason == "the worker that had it was lost, 5 times"


def test_no_more_actors_wait_than_jobs(ray_session: Any) -> None:
    """Those without a place are withdrawn, so that no machine is started for nothing."""
    everything = ray_session.cluster_resources()["CPU"]  # one at a time
    remote = ray_session.remote(Misbehaving).options(num_cpus=everything)
    pool: ActorPool[str] = ActorPool(ray_session, remote.remote, 3, None)
    seen = [(pool.busy, len(pool._starting)) for _ in pool.run(["a", "b", "c"], lambda: True)]
    # When a result comes, its actor has the next job already; the others still wait.
    assert seen == [(1, 2), (1, 1), (0, 0)]
    assert pool.peak == 1
    assert not pool._starting


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 10.0
        return self.seconds


def test_where_no_machine_comes_it_is_told_and_given_up(ray_session: Any) -> None:
    told: list[str] = []
    remote = ray_session.remote(Misbehaving).options(resources={"nowhere": 1})
    pool: ActorPool[str] = ActorPool(
        ray_session,
        remote.remote,
        2,
        None,
        patience=Patience("1 processor(s)", 100.0, told.append),
        now=Clock(),
    )
    with pytest.raises(UserError, match=r"no machine came within \d+ s .* 1 processor.*--wait"):
        list(pool.run(["a", "b"], lambda: True))
    assert len(told) == 1
    assert "2 worker(s) with 1 processor(s) each" in told[0]
