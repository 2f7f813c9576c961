"""The Ray cluster: joined or started, and an actor on every node that says what it finds there."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rayxkd.doctor import agent
from rayxkd.doctor.checks import Check, failed, guarded, ok, reason, warning, within
from rayxkd.fleet.cluster import Cluster, nobody_at
from rayxkd.fleet.machines import living_nodes

# For one node, from the start of its actor to its answer; all nodes are asked at the same time.
NODE_SECONDS = 60.0
# Ray tries for many minutes where something else than Ray listens.
_JOIN_SECONDS = 60.0
_CLOCK_SECONDS = 10.0
_UV_HOOK = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
_CLOCK_OFF = 5.0


@dataclass(frozen=True)
class Node:
    """A live node, with the actor on it.

    Attributes:
        name: host and address.
        gpus: how many Ray says it has.
        head: whether it is the head.
        actor: an :class:`rayxkd.doctor.agent.Agent`.
    """

    name: str
    gpus: float
    head: bool
    actor: Any = field(repr=False)


@contextmanager
def agents(ray: Any) -> Iterator[list[Node]]:
    """An actor on every live node, the head first; all of them end with this context."""
    # Its code goes with it: the node may have another rayxkd, or none.
    ray.cloudpickle.register_pickle_by_value(agent)
    try:
        nodes = sorted((_node(ray, found) for found in living_nodes(ray)), key=_head_first)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(agent)
    try:
        yield nodes
    finally:
        for node in nodes:
            with suppress(Exception):  # it may be gone
                ray.kill(node.actor)


def _node(ray: Any, found: Mapping[str, Any]) -> Node:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    host, address = found["NodeManagerHostname"], found["NodeManagerAddress"]
    actor = ray.remote(agent.Agent).options(
        num_cpus=0,
        max_restarts=0,
        max_concurrency=4,  # one call that hangs does not hold up the next
        scheduling_strategy=NodeAffinitySchedulingStrategy(found["NodeID"], soft=False),
    )
    return Node(
        name=f"{host} ({address})",
        gpus=found["Resources"].get("GPU", 0.0),
        head="node:__internal_head__" in found["Resources"],
        actor=actor.remote(),
    )


def _head_first(node: Node) -> tuple[bool, str]:
    return not node.head, node.name


def join(cluster: Cluster) -> tuple[Any, Check]:
    """Join the cluster at RAY_ADDRESS, or start one here.

    Returns:
        The ``ray`` module, connected, or ``None``; and how that went.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    silent = nobody_at(address)
    if silent:  # Ray itself would go on trying for minutes
        return None, failed("cluster", silent, _start_or_unset(address))
    try:
        ray = _connect_within(_JOIN_SECONDS, cluster) if address else cluster.connect()
        held = ray.cluster_resources()
    except Exception as error:
        # The cause may tell of other versions.
        detail = "; ".join(reason(one) for one in (error, error.__cause__) if one)
        return None, failed("cluster", detail, _mend_of_connection(error, detail, address))
    way = f"joined at {address}" if address else "started on this machine"
    size = f"{held.get('CPU', 0):g} processor(s), {held.get('GPU', 0):g} GPU(s)"
    return ray, ok("cluster", f"{way}: Ray {ray.__version__}, {size}")


def _connect_within(seconds: float, cluster: Cluster) -> Any:
    logger = logging.getLogger("ray._private.worker")
    level = logger.level
    logger.setLevel(logging.ERROR)  # in a thread it warns that it leaves SIGTERM alone
    try:
        return within(seconds, cluster.connect)
    finally:
        logger.setLevel(level)


def _start_or_unset(address: str) -> str:
    return f"Start a Ray cluster at {address}, or unset RAY_ADDRESS to have one started here."


def _mend_of_connection(error: BaseException, detail: str, address: str) -> str:
    if isinstance(error, ImportError):
        return "Install Ray anew, as rayxkd needs it: pip install --force-reinstall rayxkd."
    if "mismatch" in detail.lower():
        return "Use the same versions of Ray and Python here and on the cluster."
    if address:
        return (
            f"See that a Ray head of this version listens at {address}, and give its token here "
            "(RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH), or unset RAY_ADDRESS."
        )
    return "Free memory and disk space in /tmp on this machine, and try again."


def examine_nodes(
    nodes: Iterable[Node], *, seconds: float = NODE_SECONDS, ours: Mapping[str, str] | None = None
) -> Iterator[Check]:
    """Ask every node about itself and compare.

    Args:
        nodes: with their actors.
        seconds: after which a node is given up.
        ours: versions to compare with; by default those of this process.
    """
    wanted = agent.versions() if ours is None else ours
    tokens = []
    for node, about, why in answers(nodes, lambda one: one.actor.about.remote(), seconds):
        name = f"node {node.name}"
        if why:
            yield failed(name, why, _mend_of_silence(node, os.environ))
            continue
        tokens.append(about["token"])
        mend = _mend_of_silence(node, {})
        yield from guarded(name, mend, _examine, node, about, wanted)
    if tokens and os.environ.get("RAY_ADDRESS"):
        yield from guarded("token", "Ask Ray where its head is.", _examine_token, all(tokens))


def _mend_of_silence(node: Node, environment: Mapping[str, str]) -> str:
    joined = environment.get("RAY_ADDRESS")
    if joined and "UV" in environment and environment.get(_UV_HOOK) != "0":
        return (
            f"Set {_UV_HOOK}=0, or start rayxkd without `uv run`: below it, Ray has every actor "
            "build an environment of its own."
        )
    return (
        f"Look at {node.name}: is it overloaded, out of memory or cut off? Mend it (its logs are "
        "in /tmp/ray) or remove it from the cluster."
    )


def answers(
    nodes: Iterable[Node], ask: Callable[[Node], Any], seconds: float
) -> Iterator[tuple[Node, Any, str]]:
    """Ask all nodes at once and yield for each what it answers, and why it does not.

    Args:
        nodes: with their actors.
        ask: calls a method of a node's actor.
        seconds: after which those that have not answered are given up.
    """
    import ray

    asked = {ask(node): node for node in nodes}
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    for ref, node in asked.items():
        if ref not in ready:
            yield node, None, f"no answer within {seconds:g} s"
            continue
        try:
            yield node, ray.get(ref), ""
        except Exception as error:
            cause = getattr(error, "cause", None)  # Ray wraps it in the actor's traceback
            yield node, None, reason(cause if isinstance(cause, BaseException) else error)


def _examine(node: Node, about: Mapping[str, Any], wanted: Mapping[str, str]) -> Iterator[Check]:
    name = f"node {node.name}"
    clock = _clock(name, *_difference(node.actor))
    checks = [
        *differences(name, about["versions"], wanted),
        *compare_gpus(name, about["gpus"], node.gpus),
        *clock,
    ]
    if checks:
        yield from checks
        return
    versions = ", ".join(f"{what} {version}" for what, version in about["versions"].items())
    yield ok(name, f"{versions} as here; {about['gpus']} GPU(s); clock as here")


def differences(name: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> Iterator[Check]:
    """Compare the versions of a node with ours.

    Args:
        name: of the checks.
        theirs: the node's, by what they are of; what is missing says so behind a ``!``.
        ours: the same, of this process.
    """
    for what, version in theirs.items():
        here = ours[what]
        if version == here:
            continue
        if version.startswith("!"):
            mend = (
                f"Install {what} on {name}, as it is here, or submit the work with --working-dir."
            )
            yield failed(name, f"{what} {version[1:]}", mend)
        else:
            mend = f"Use one version of {what} here and on {name}."
            yield failed(name, f"{what} {version}, but {here.removeprefix('!')} here", mend)


def compare_gpus(name: str, seen: int | str, told: float) -> Iterator[Check]:
    """Compare the GPUs that torch sees on a node with those that Ray hands out there.

    Args:
        name: of the checks.
        seen: how many torch sees, or why it cannot say.
        told: how many Ray has.
    """
    if isinstance(seen, str):
        yield failed(name, seen, f"Install torch anew on {name}, in a build for its driver.")
    elif seen < told:
        yield failed(
            name,
            f"Ray hands out {told:g} GPU(s), torch sees {seen}",
            f"Install a CUDA build of torch that fits the driver on {name}, and restart Ray there.",
        )
    elif seen > told:
        yield warning(
            name,
            f"torch sees {seen} GPU(s), Ray hands out {told:g}",
            f"Restart Ray on {name} with --num-gpus {seen}, if they are meant to work.",
        )


def _difference(actor: Any) -> tuple[float, float]:
    """Seconds by which an actor's clock is ahead of ours, and how uncertain that is."""
    import ray

    sent = time.time()
    theirs = ray.get(actor.clock.remote(), timeout=_CLOCK_SECONDS)
    trip = time.time() - sent
    return theirs - (sent + trip / 2), trip / 2


def _clock(name: str, ahead: float, uncertain: float) -> Iterator[Check]:
    if abs(ahead) - uncertain > _CLOCK_OFF:
        how = "ahead" if ahead > 0 else "behind"
        yield warning(
            name,
            f"its clock is {abs(ahead):.1f} s {how}",
            f"Let {name} and this machine take their time from one server (NTP).",
        )


def _examine_token(guarded_by_token: bool) -> Iterator[Check]:
    import ray

    address = str(ray.get_runtime_context().gcs_address)
    if guarded_by_token:
        yield ok("token", "the cluster asks for a token")
    elif address.rpartition(":")[0].strip("[]") in ("127.0.0.1", "localhost", "::1"):
        yield ok("token", "the cluster asks for none, and is open to this machine only")
    else:
        yield warning(
            "token",
            f"whoever reaches {address} can run code on the cluster",
            "Start every node with RAY_AUTH_MODE=token and one token (ray get-auth-token "
            "--generate).",
        )
