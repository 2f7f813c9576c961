from __future__ import annotations

import pytest

from rayxkd.assess.settings import check_gpu_share
from rayxkd.errors import UserError
from rayxkd.fleet.cluster import Resources
from rayxkd.fleet.plan import WorkerPlan, plan_workers


@pytest.mark.parametrize(
    ("found", "teachers", "workers", "gpus", "expected"),
    [
        (Resources(2, 0, 1), 12, None, None, WorkerPlan(2, 1, 0.0)),
        (Resources(2, 0, 1), 1, None, None, WorkerPlan(1, 2, 0.0)),
        (Resources(16, 0, 1), 5, None, None, WorkerPlan(5, 3, 0.0)),
        (Resources(16, 0, 1), 100, 4, None, WorkerPlan(4, 4, 0.0)),
        (Resources(16, 4, 1), 100, None, None, WorkerPlan(4, 4, 1.0)),
        (Resources(16, 4, 1), 100, None, 0.5, WorkerPlan(8, 2, 0.5)),
        (Resources(16, 3, 1), 100, None, 1 / 3, WorkerPlan(9, 1, 1 / 3)),
        (Resources(16, 4, 1), 100, None, 0.0, WorkerPlan(16, 1, 0.0)),
        # Two nodes of eight: no actor may want more processors than one node has.
        (Resources(16, 0, 2), 1, None, None, WorkerPlan(1, 8, 0.0)),
        # A head without processors of its own, workers still to come.
        (Resources(0, 0, 1), 10, None, None, WorkerPlan(1, 1, 0.0)),
    ],
)
def test_plans(
    found: Resources,
    teachers: int,
    workers: int | None,
    gpus: float | None,
    expected: WorkerPlan,
) -> None:
    assert plan_workers(teachers, found, workers=workers, gpus_per_worker=gpus) == expected


def test_a_gpu_where_there_is_none_is_said() -> None:
    with pytest.raises(UserError, match=r"0 GPU\(s\); use 0 to run on CPUs"):
        plan_workers(3, Resources(8, 0, 1), gpus_per_worker=1.0)


def test_a_fleet_that_starts_at_zero_grows_for_what_is_asked() -> None:
    idle = Resources(0, 0, 1, may_grow=True)
    plan = plan_workers(100, idle, workers=8, cpus_per_worker=4, gpus_per_worker=1.0)
    assert plan == WorkerPlan(8, 4, 1.0)


def test_processors_as_asked() -> None:
    two = Resources(2, 0, 1)
    assert plan_workers(12, two, workers=1, cpus_per_worker=1) == WorkerPlan(1, 1, 0.0)
    assert plan_workers(12, Resources(8, 0, 1), cpus_per_worker=4) == WorkerPlan(2, 4, 0.0)
    with pytest.raises(UserError, match=r"the cluster has 2 processor"):
        plan_workers(12, two, cpus_per_worker=3)


@pytest.mark.parametrize("share", [None, 0, 1, 2, 0.5, 0.25, 1 / 3, 0.33, 0.2])
def test_shares_that_fill_a_gpu(share: float | None) -> None:
    check_gpu_share(share)


@pytest.mark.parametrize("share", [0.6, 0.75, 1.5, -1])
def test_shares_that_leave_remnants(share: float) -> None:
    with pytest.raises(UserError, match="one n-th of a GPU"):
        check_gpu_share(share)
