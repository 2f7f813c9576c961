"""What the doctor says of a cluster, on a real one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rayxkd.doctor import agent
from rayxkd.doctor.checks import State
from rayxkd.doctor.nodes import (
    Node,
    _clock,
    _mend_of_silence,
    agents,
    answers,
    compare_gpus,
    differences,
    examine_nodes,
    join,
)
from rayxkd.fleet.cluster import Cluster

# A process that cannot import rayxkd, as a node without it.
WITHOUT_RAYXKD = """
import sys
sys.modules["rayxkd"] = None
import pickle
agent = pickle.load(sys.stdin.buffer)()
print(agent.about()["versions"]["rayxkd"])
"""


@pytest.fixture
def nodes(ray_session: Any) -> Iterator[list[Node]]:
    with agents(ray_session) as found:
        yield found


def test_every_node_answers(nodes: list[Node]) -> None:
    assert [node.head for node in nodes] == [True]
    (check,) = examine_nodes(nodes)
    assert check.state == State.OK, check
    assert check.name.startswith("node ")
    assert "as here" in check.detail


def test_other_versions_are_told_with_what_to_do(nodes: list[Node]) -> None:
    ours = agent.versions() | {"torch": "9.9", "ray": "1.0"}
    checks = list(examine_nodes(nodes, ours=ours))
    assert [check.state for check in checks] == [State.FAILED] * 2
    assert "but 1.0 here" in checks[0].detail
    assert checks[1].mend.startswith("Use one version of torch here and on node")


def test_a_node_that_is_late_is_given_up(nodes: list[Node]) -> None:
    (check,) = examine_nodes(nodes, seconds=0.0)
    assert check.state == State.FAILED
    assert "no answer within 0 s" in check.detail


def test_a_node_that_is_gone_is_one_line(ray_session: Any, nodes: list[Node]) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nowhere = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
    actor = ray_session.remote(agent.Agent).options(num_cpus=0, scheduling_strategy=nowhere)
    gone = replace(nodes[0], name="gone", actor=actor.remote())
    checks = list(examine_nodes([gone, *nodes], seconds=20.0))
    assert [check.state for check in checks] == [State.FAILED, State.OK]
    assert checks[0].name == "node gone"
    assert len(checks[0].detail.splitlines()) == 1


def test_an_actor_that_raises_is_its_reason(nodes: list[Node]) -> None:
    ((_, _, why),) = answers(
        nodes, lambda node: node.actor.visit.remote("s4://x", "a", "b", "c"), 30.0
    )
    assert "unknown address scheme 's4'" in why
    assert "Traceback" not in why


def test_the_actor_needs_no_rayxkd_to_say_that_there_is_none(ray_session: Any) -> None:
    ray_session.cloudpickle.register_pickle_by_value(agent)
    try:
        content = ray_session.cloudpickle.dumps(agent.Agent)
    finally:
        ray_session.cloudpickle.unregister_pickle_by_value(agent)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAYXKD], input=content, capture_output=True, check=True
    )
    assert done.stdout.decode().startswith("!cannot be imported")
    (check,) = differences("node a", {"rayxkd": done.stdout.decode().strip()}, {"rayxkd": "0.1.0"})
    assert check.state == State.FAILED
    assert check.mend.startswith("Install rayxkd on node a")


@pytest.mark.parametrize(
    ("seen", "told", "states"),
    [
        (2, 2.0, []),
        (0, 0.0, []),
        (0, 4.0, [State.FAILED]),
        (4, 0.0, [State.WARNING]),
        ("torch cannot be loaded: x", 0.0, [State.FAILED]),
    ],
)
def test_gpus_of_torch_and_of_ray(seen: int | str, told: float, states: list[State]) -> None:
    assert [check.state for check in compare_gpus("node a", seen, told)] == states


def test_clocks() -> None:
    assert not list(_clock("node a", 4.0, 0.1))
    assert not list(_clock("node a", -7.0, 3.0))  # the answer was slow: it may be nothing
    (check,) = _clock("node a", -7.0, 0.1)
    assert check.state == State.WARNING
    assert "7.0 s behind" in check.detail


def test_below_uv_the_mend_names_the_hook(nodes: list[Node]) -> None:
    below = {"RAY_ADDRESS": "head:6379", "UV": "/bin/uv"}
    assert "RAY_ENABLE_UV_RUN_RUNTIME_ENV=0" in _mend_of_silence(nodes[0], below)
    assert "overloaded" in _mend_of_silence(nodes[0], {"UV": "/bin/uv"})


def test_an_address_where_nobody_listens_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setitem(os.environ, "RAY_ADDRESS", f"127.0.0.1:{port}")
    with Cluster() as cluster:
        ray, check = join(cluster)
    assert ray is None
    assert check.state == State.FAILED
    assert "nobody answers" in check.detail
    assert "unset RAY_ADDRESS" in check.mend
