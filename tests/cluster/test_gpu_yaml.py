"""The cluster file passes Ray's own check and keeps what it promises."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.conftest import REPO

FILE = REPO / "cluster" / "gpu.yaml"
Config = dict[str, Any]


def load() -> Config:
    return yaml.safe_load(FILE.read_text())


def check(config: Config) -> Config:
    """What ``ray up`` checks before it starts anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def node_types(config: Config) -> tuple[Config, dict[str, Config]]:
    types = dict(config["available_node_types"])
    return types.pop(config["head_node_type"]), types


def start_commands(config: Config) -> dict[str, str]:
    kinds = "head", "worker"
    return {kind: "\n".join(config[f"{kind}_start_ray_commands"]) for kind in kinds}


def test_ray_accepts_it() -> None:
    prepared = check(load())
    # Nothing of Ray's own defaults has slipped in.
    assert prepared["head_setup_commands"] == load()["setup_commands"]
    assert prepared["worker_setup_commands"] == load()["setup_commands"]


def unknown_key(config: Config) -> None:
    config["idle_timeout_minuets"] = 10


def unknown_key_of_a_type(config: Config) -> None:
    config["available_node_types"]["gpu_spot"]["maximum"] = 8


def more_at_least_than_at_most(config: Config) -> None:
    config["available_node_types"]["gpu_spot"]["min_workers"] = config["max_workers"] + 1


def misspelt_resource_amount(config: Config) -> None:
    config["available_node_types"]["gpu_spot"]["resources"]["GPU"] = "one"


def no_such_head(config: Config) -> None:
    config["head_node_type"] = "heads"


@pytest.mark.parametrize(
    "spoil",
    [
        unknown_key,
        unknown_key_of_a_type,
        more_at_least_than_at_most,
        misspelt_resource_amount,
        no_such_head,
    ],
)
def test_ray_refuses_a_spoilt_copy(spoil: Callable[[Config], None]) -> None:
    from jsonschema import ValidationError

    config = load()
    spoil(config)
    with pytest.raises((ValidationError, ValueError)):
        check(config)


def test_the_head_computes_nothing() -> None:
    head, _ = node_types(check(load()))
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0
    assert not re.match(r"(p|g|gr|trn|inf)\d", head["node_config"]["InstanceType"])


def test_workers_are_explicit_and_cost_nothing_at_rest() -> None:
    config = check(load())
    _, workers = node_types(config)
    assert len(workers) == 2
    for name, worker in workers.items():
        assert worker["resources"]["GPU"] >= 1, name
        assert worker["resources"]["CPU"] >= 1, name
        assert worker["min_workers"] == 0, name
        assert 1 <= worker["max_workers"] <= config["max_workers"], name
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


def test_the_fallback_is_the_same_machine_at_the_full_price() -> None:
    _, workers = node_types(load())
    spot, on_demand = workers["gpu_spot"], workers["gpu_on_demand"]
    market = spot["node_config"].pop("InstanceMarketOptions")
    assert market == {"MarketType": "spot"}
    assert spot.pop("priority") > on_demand.get("priority", 0)
    assert spot == on_demand


@pytest.mark.parametrize(("left", "chosen"), [(1.0, "gpu_spot"), (0.0, "gpu_on_demand")])
def test_ray_takes_spot_machines_while_there_are_any(left: float, chosen: str) -> None:
    """Asks Ray's autoscaler itself what it would start for three actors with a GPU each."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    config = AutoscalingConfig(check(load()), skip_content_hash=True)
    actors = [ResourceRequestUtil.make({"CPU": 1, "GPU": 1})] * 3
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(actors),
        # What becomes of a type when a start has just failed.
        recoverable_resource_availabilities={"gpu_spot": left},
        cloud_resource_availabilities={"gpu_spot": left},
    )
    reply = ResourceDemandScheduler().schedule(request)
    started = {one.instance_type: one.count for one in reply.to_launch}
    started.pop("head", None)
    assert started == {chosen: 3}
    assert not reply.infeasible_resource_requests


def test_nothing_is_open_to_the_world() -> None:
    config = check(load())
    everything = yaml.safe_dump(config)
    for anywhere in ("0.0.0.0", "::/0", "--network-disabled", "--publish"):
        assert anywhere not in everything
    assert "--dashboard-host=127.0.0.1" in start_commands(config)["head"]


def test_the_token_is_on_every_node_and_asked_for() -> None:
    config = check(load())
    for kind, command in start_commands(config).items():
        starts = [line for line in command.splitlines() if "ray start" in line]
        assert len(starts) == 1, kind
        assert "export RAY_AUTH_MODE=token" in starts[0], kind
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


def test_python_and_ray_of_the_image_suit_the_project() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    image = load()["docker"]["image"]
    found = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py(\d)(\d+)-gpu", image)
    assert found, image
    ray_version, major, minor = found.groups()
    wanted = {
        requirement.name: requirement.specifier
        for requirement in map(Requirement, project["dependencies"])
    }
    assert ray_version in wanted["ray"]
    assert f"{major}.{minor}" in SpecifierSet(project["requires-python"])
    # The reader is told to install the same one.
    assert f"ray[default]=={ray_version}" in FILE.read_text()


def test_what_is_installed_is_mounted() -> None:
    config = load()
    mounts = {Path(remote): local for remote, local in config["file_mounts"].items()}
    root = Path("/home/ray/rayxkd")
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
    }
    ours = {local for remote, local in mounts.items() if remote.is_relative_to(root)}
    assert ours == needed
    for local in ours:
        assert (REPO / local).exists(), local
        assert mounts[root / local] == local
    (install,) = config["setup_commands"]
    extras = re.search(rf"'{root}\[([\w,]+)\]'", install)
    assert extras, install
    assert set(extras[1].split(",")) <= set(project["project"]["optional-dependencies"])
