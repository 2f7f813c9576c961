from __future__ import annotations

from typing import Any

import pytest

from rayxkd.errors import UserError
from rayxkd.fleet.machines import Fleet, Machine, Resources
from rayxkd.fleet.plan import WorkerPlan, plan_workers
from rayxkd.fleet.settings import check_gpu_share
from tests.conftest import REPO


@pytest.mark.parametrize(
    ("found", "teachers", "workers", "gpus", "expected"),
    [
        (Resources((Machine(2),)), 12, None, None, WorkerPlan(2, 1, 0.0)),
        (Resources((Machine(2),)), 1, None, None, WorkerPlan(1, 2, 0.0)),
        (Resources((Machine(16),)), 5, None, None, WorkerPlan(5, 3, 0.0)),
        (Resources((Machine(16),)), 100, 4, None, WorkerPlan(4, 4, 0.0)),
        (Resources((Machine(16, 4),)), 100, None, None, WorkerPlan(4, 4, 1.0)),
        (Resources((Machine(16, 4),)), 100, None, 0.5, WorkerPlan(8, 2, 0.5)),
        (Resources((Machine(16, 3),)), 100, None, 1 / 3, WorkerPlan(9, 1, 1 / 3)),
        (Resources((Machine(16, 4),)), 100, None, 0.0, WorkerPlan(16, 1, 0.0)),
        # Two nodes of eight: no actor may want more processors than one node has.
        (Resources((Machine(8), Machine(8))), 1, None, None, WorkerPlan(1, 8, 0.0)),
        # A head without processors of its own, workers still to come.
        (Resources((Machine(0),)), 10, None, None, WorkerPlan(1, 1, 0.0)),
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
        plan_workers(3, Resources((Machine(8),)), gpus_per_worker=1.0)


def test_a_fleet_that_starts_at_zero_grows_for_what_is_asked() -> None:
    idle = Resources((Machine(0),), joined=True)
    plan = plan_workers(100, idle, workers=8, cpus_per_worker=4, gpus_per_worker=1.0)
    assert plan == WorkerPlan(8, 4, 1.0)


def test_processors_as_asked() -> None:
    two = Resources((Machine(2),))
    assert plan_workers(12, two, workers=1, cpus_per_worker=1) == WorkerPlan(1, 1, 0.0)
    assert plan_workers(12, Resources((Machine(8),)), cpus_per_worker=4) == WorkerPlan(2, 4, 0.0)
    with pytest.raises(UserError, match=r"the cluster has 2 processor"):
        plan_workers(12, two, cpus_per_worker=3)


CHEAP_AND_LARGE = """
head_node_type: head
max_workers: 8
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0}
  spot: {resources: {CPU: 4, GPU: 1, "accelerator_type:A10G": 0}, max_workers: 8}
  on_demand: {resources: {CPU: 4, GPU: 1, "accelerator_type:A10G": 0}, max_workers: 8}
  large: {resources: {CPU: 48, GPU: 4}, max_workers: 2}
"""


def empty_fleet(text: str = CHEAP_AND_LARGE) -> Resources:
    """A head without processors, and what its autoscaler may start."""
    return Resources((Machine(0),), Fleet.read(text), joined=True)


@pytest.mark.parametrize(
    ("jobs", "options", "expected"),
    [
        # Two large machines and six cheap ones hold 14 workers with a GPU each.
        (1000, {}, WorkerPlan(14, 4, 1.0)),
        (20, {}, WorkerPlan(5, 4, 1.0)),
        (1, {}, WorkerPlan(1, 4, 1.0)),
        (1000, {"workers": 3}, WorkerPlan(3, 4, 1.0)),
        (1000, {"cpus_per_worker": 12}, WorkerPlan(8, 12, 1.0)),
        (1000, {"gpus_per_worker": 0.5}, WorkerPlan(28, 2, 0.5)),
        (1000, {"gpus_per_worker": 0.0}, WorkerPlan(120, 1, 0.0)),
        # Small models share a GPU, as far as there are processors for them; large ones do not.
        (1000, {"weights_bytes": 14 * 2**20}, WorkerPlan(56, 1, 0.25)),
        (1000, {"weights_bytes": 2**30}, WorkerPlan(14, 4, 1.0)),
    ],
)
def test_an_empty_fleet_is_asked_for_what_the_jobs_are_worth(
    jobs: int, options: dict[str, Any], expected: WorkerPlan
) -> None:
    assert plan_workers(jobs, empty_fleet(), **options) == expected


def test_what_no_machine_of_the_fleet_holds_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"no machine .* 64 processor.*48 processor\(s\) with 4"):
        plan_workers(10, empty_fleet(), cpus_per_worker=64)
    with pytest.raises(UserError, match=r"8 GPU\(s\); its kinds"):
        plan_workers(10, empty_fleet(), gpus_per_worker=8.0)


def test_small_models_share_the_gpus_that_are_there() -> None:
    h100 = Resources((Machine.offering({"CPU": 16, "GPU": 1, "accelerator_type:H100": 1}),))
    assert plan_workers(100, h100, weights_bytes=14 * 2**20) == WorkerPlan(8, 2, 1 / 8)
    assert plan_workers(100, h100, weights_bytes=4 * 2**30) == WorkerPlan(3, 5, 1 / 3)
    assert plan_workers(100, h100) == WorkerPlan(1, 16, 1.0)


@pytest.mark.parametrize("text", ["{a: 1}", "/nowhere/at/all", "{available_node_types: {a: 3}}"])
def test_a_fleet_that_makes_no_sense_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match="RAYXKD_FLEET must name a cluster file"):
        Fleet.read(text)


def test_the_cluster_files_describe_fleets() -> None:
    fleet = Fleet.read(str(REPO / "cluster" / "gpu.yaml"))
    assert fleet.places(4, 1.0) == 20
    assert (
        Fleet.read("{available_node_types: {a: {resources: {CPU: 2}, max_workers: 3}}}").most == 3
    )


@pytest.mark.parametrize(
    ("machines", "workers", "expected"),
    [
        ((Machine(1),) * 4, 2, 1),  # no worker spans two machines
        ((Machine(8), Machine(2)), 2, 4),
        ((Machine(8), Machine(2)), 1, 8),
        ((Machine(0), Machine(3)), 1, 3),
        ((Machine(2),), 9, 1),
    ],
)
def test_processors_of_several_machines(
    machines: tuple[Machine, ...], workers: int, expected: int
) -> None:
    assert Resources(machines).cpus_each(workers, 0.0) == expected


@pytest.mark.parametrize("share", [None, 0, 1, 2, 0.5, 0.25, 1 / 3, 0.33, 0.2])
def test_shares_that_fill_a_gpu(share: float | None) -> None:
    check_gpu_share(share)


@pytest.mark.parametrize("share", [0.6, 0.75, 1.5, -1])
def test_shares_that_leave_remnants(share: float) -> None:
    with pytest.raises(UserError, match="one n-th of a GPU"):
        check_gpu_share(share)
