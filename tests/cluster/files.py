"""The files of ``cluster/`` and what tests of several of them share."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import yaml

from tests.conftest import REPO

Config = dict[str, Any]

FOLDER = REPO / "cluster"
# Clusters that a cloud rents out by the hour, as `ray up` reads them.
RENTED = ("gpu.yaml", "gpu-gcp.yaml", "gpu-azure.yaml")
RAY_UP = (*RENTED, "on-premise.yaml")
KUBERNETES = ("kuberay-namespace.yaml", "kuberay-cluster.yaml", "kuberay-job.yaml")


def text(name: str) -> str:
    return (FOLDER / name).read_text()


def load(name: str) -> Config:
    config: Config = yaml.safe_load(text(name))
    return config


def load_all(name: str) -> list[Config]:
    return list(yaml.safe_load_all(text(name)))


def check(config: Config) -> Config:
    """What ``ray up`` checks before it asks the cloud for anything, defaults filled in."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: Config = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def node_types(config: Config) -> tuple[Config, dict[str, Config]]:
    """The head's type and the workers' types by name."""
    types = dict(config["available_node_types"])
    return types.pop(config["head_node_type"]), types


def start_commands(config: Config) -> dict[str, str]:
    kinds = "head", "worker"
    return {kind: "\n".join(config[f"{kind}_start_ray_commands"]) for kind in kinds}


def adapted(config: Config, **values: str) -> Config:
    """A copy in which every ``WHAT-ADAPT`` whose value is given has it."""

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if isinstance(value, str):
            for name, real in values.items():
                value = value.replace(f"{name}-ADAPT", real)
        return value

    filled: Config = fill(config)
    return filled


def launches(
    config: Config, wanted: Iterable[dict[str, float]], failing: Iterable[str] = ()
) -> dict[str, int]:
    """How many nodes of which type Ray's autoscaler would start for these actors, from nothing.

    Args:
        config: checked, with the resources of every type.
        wanted: what each actor asks for.
        failing: types whose last start failed just now.
    """
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    ours = AutoscalingConfig(config, skip_content_hash=True)
    failed = dict.fromkeys(failing, 0.0)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=ours.get_node_type_configs(),
        max_num_nodes=ours.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(
            [ResourceRequestUtil.make(one) for one in wanted]
        ),
        recoverable_resource_availabilities=failed,
        cloud_resource_availabilities=failed,
    )
    reply = ResourceDemandScheduler().schedule(request)
    assert not reply.infeasible_resource_requests
    head = config["head_node_type"]
    return {one.instance_type: one.count for one in reply.to_launch if one.instance_type != head}
