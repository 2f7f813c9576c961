"""The files for ``ray up`` pass Ray's own check and keep what they promise."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rayxkd.fleet.machines import Fleet
from tests.cluster.files import (
    RAY_UP,
    RENTED,
    Config,
    check,
    launches,
    load,
    node_types,
    start_commands,
    text,
)
from tests.conftest import REPO


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_accepts_it(name: str) -> None:
    config, prepared = load(name), check(load(name))
    # Nothing of Ray's own defaults has slipped in: those start the dashboard on every interface.
    for kind in ("head", "worker"):
        ours = config["setup_commands"] + config[f"{kind}_setup_commands"]
        assert prepared[f"{kind}_setup_commands"] == ours
        key = f"{kind}_start_ray_commands"
        assert prepared[key] == config[key]


def unknown_key(config: Config) -> None:
    config["idle_timeout_minuets"] = 10


def unknown_key_of_a_type(config: Config) -> None:
    config["available_node_types"]["gpu_spot"]["maximum"] = 8


def more_at_least_than_at_most(config: Config) -> None:
    config["available_node_types"]["gpu_spot"]["min_workers"] = config["max_workers"] + 1


def resource_in_words(config: Config) -> None:
    config["available_node_types"]["gpu_spot"]["resources"]["GPU"] = "one"


def no_such_head(config: Config) -> None:
    config["head_node_type"] = "heads"


def command_that_is_none(config: Config) -> None:
    config["setup_commands"] = [{"pip": "install"}]


def no_such_provider(config: Config) -> None:
    config["provider"]["type"] = "cloud"


@pytest.mark.parametrize("name", RENTED)
@pytest.mark.parametrize(
    "spoil",
    [
        unknown_key,
        unknown_key_of_a_type,
        more_at_least_than_at_most,
        resource_in_words,
        no_such_head,
        command_that_is_none,
        no_such_provider,
    ],
)
def test_ray_refuses_a_spoilt_copy(name: str, spoil: Callable[[Config], None]) -> None:
    from jsonschema import ValidationError

    config = load(name)
    spoil(config)
    with pytest.raises((ValidationError, ValueError, NotImplementedError)):
        check(config)


def no_workers(config: Config) -> None:
    del config["provider"]["worker_ips"]


def types_of_a_cloud(config: Config) -> None:
    config["available_node_types"] = {"gpu": {"node_config": {}, "resources": {}}}


@pytest.mark.parametrize("spoil", [unknown_key, command_that_is_none, no_workers, types_of_a_cloud])
def test_ray_refuses_a_spoilt_copy_on_premise(spoil: Callable[[Config], None]) -> None:
    from click import ClickException
    from jsonschema import ValidationError

    config = load("on-premise.yaml")
    spoil(config)
    with pytest.raises((ValidationError, ClickException)):
        check(config)


@pytest.mark.parametrize("name", RENTED)
def test_the_head_computes_nothing(name: str) -> None:
    head, _ = node_types(check(load(name)))
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0


def test_the_head_on_premise_computes_nothing() -> None:
    command = start_commands(load("on-premise.yaml"))["head"]
    assert "--num-cpus=0" in command
    assert "--num-gpus=0" in command


@pytest.mark.parametrize("name", RENTED)
def test_workers_are_explicit_and_cost_nothing_at_rest(name: str) -> None:
    config = check(load(name))
    _, workers = node_types(config)
    assert set(workers) == {"gpu_spot", "gpu_on_demand", "large_spot", "large_on_demand"}
    for kind, worker in workers.items():
        assert worker["resources"]["GPU"] == (4 if kind.startswith("large") else 1), kind
        assert worker["resources"]["CPU"] >= 4, kind
        assert worker["min_workers"] == 0, kind
        assert 1 <= worker["max_workers"] <= config["max_workers"], kind
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


@pytest.mark.parametrize("name", RENTED)
def test_the_worst_hour_is_what_the_file_says(name: str) -> None:
    """Of all machines that can run at once, the dearest."""
    config = load(name)
    _, workers = node_types(config)
    prices = config["metadata"]["dollars_an_hour"]
    assert set(prices) == set(config["available_node_types"])
    each = [prices[kind] for kind, worker in workers.items() for _ in range(worker["max_workers"])]
    worst = prices["head"] + sum(sorted(each, reverse=True)[: config["max_workers"]])
    assert config["metadata"]["at_most_dollars_an_hour"] == pytest.approx(worst, abs=0.01)


def without_spot(name: str, worker: Config) -> Config:
    """A type bereft of what makes it a spot type, all of which must be there."""
    plain = copy.deepcopy(worker)
    del plain["priority"]
    settings = plain["node_config"]
    if name == "gpu.yaml":
        assert settings.pop("InstanceMarketOptions") == {"MarketType": "spot"}
    elif name == "gpu-gcp.yaml":
        assert settings["scheduling"].pop("provisioningModel") == "SPOT"
        assert settings["scheduling"].pop("instanceTerminationAction") == "DELETE"
    else:
        parameters = settings["azure_arm_parameters"]
        assert parameters.pop("priority") == "Spot"
        assert parameters.pop("evictionPolicy") == "Delete"
        assert parameters.pop("billingProfile") == {"maxPrice": -1}
    return plain


@pytest.mark.parametrize("name", RENTED)
@pytest.mark.parametrize("size", ["gpu", "large"])
def test_the_fallback_is_the_same_machine_at_the_full_price(name: str, size: str) -> None:
    _, workers = node_types(load(name))
    spot, on_demand = workers[f"{size}_spot"], workers[f"{size}_on_demand"]
    assert spot["priority"] > on_demand.pop("priority")
    assert without_spot(name, spot) == on_demand


@pytest.mark.parametrize("name", RENTED)
@pytest.mark.parametrize(
    ("actors", "failing", "started"),
    [
        # Four processors and a GPU each, as the file's head says; also shares, and few processors.
        ([{"CPU": 4, "GPU": 1}] * 8, [], {"gpu_spot": 8}),
        ([{"CPU": 1, "GPU": 1}] * 3, [], {"gpu_spot": 3}),
        ([{"CPU": 1, "GPU": 0.25}] * 20, [], {"gpu_spot": 5}),
        ([{"CPU": 4, "GPU": 1}] * 3, ["gpu_spot"], {"gpu_on_demand": 3}),
        # What does not fit a cheap machine.
        ([{"CPU": 12, "GPU": 1}] * 8, [], {"large_spot": 2}),
        ([{"CPU": 4, "GPU": 4}], [], {"large_spot": 1}),
        ([{"CPU": 12, "GPU": 1}] * 4, ["large_spot"], {"large_on_demand": 1}),
    ],
)
def test_ray_starts_cheap_machines_and_spot_machines_first(
    name: str, actors: list[dict[str, float]], failing: list[str], started: dict[str, int]
) -> None:
    """Asks Ray's autoscaler itself; for AWS again in test_aws, with what Ray adds there."""
    assert launches(check(load(name)), actors, failing) == started


@pytest.mark.parametrize("name", RAY_UP)
def test_nothing_is_open_to_the_world(name: str) -> None:
    config = check(load(name))
    everything = yaml.safe_dump(config)
    for anywhere in ("0.0.0.0", "::/0", "--network-disabled", "--publish", "-p "):
        assert anywhere not in everything
    assert "--dashboard-host=127.0.0.1" in start_commands(config)["head"]


@pytest.mark.parametrize("name", RAY_UP)
def test_the_token_is_on_every_node_and_asked_for(name: str) -> None:
    config = check(load(name))
    for kind, command in start_commands(config).items():
        starts = [line for line in command.splitlines() if "ray start" in line]
        assert len(starts) == 1, kind
        assert "export RAY_AUTH_MODE=token" in starts[0], kind
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    # The reader has to make it first.
    assert "ray get-auth-token --generate" in text(name)


@pytest.mark.parametrize("name", [name for name in RAY_UP if name != "on-premise.yaml"])
def test_jobs_are_told_what_may_be_started(name: str) -> None:
    config = check(load(name))
    start = start_commands(config)["head"]
    assert "export RAYXKD_FLEET=~/ray_bootstrap_config.yaml" in start
    fleet = Fleet.read(yaml.safe_dump(config, default_flow_style=True, width=10_000))
    assert fleet.most == config["max_workers"]
    assert fleet.places(1, 1.0) >= config["max_workers"]


def test_aws_roles_and_groups_are_named() -> None:
    """Where a type names none, Ray makes one, and makes it wide."""
    head, workers = node_types(load("gpu.yaml"))
    assert head["node_config"]["IamInstanceProfile"] == {"Name": "rayxkd-head"}
    for worker in workers.values():
        assert worker["node_config"]["IamInstanceProfile"] == {"Name": "rayxkd-worker"}
        assert worker["node_config"]["SecurityGroupIds"] == ["sg-ADAPT"]
        assert worker["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.parametrize("name", RAY_UP)
def test_the_head_of_the_file_tells_how_to_end_it(name: str) -> None:
    comment = re.match(r"(#.*\n)+", text(name))
    assert comment
    assert f"ray up cluster/{name}" in comment[0]
    assert f"ray down cluster/{name}" in comment[0]


@pytest.mark.parametrize("name", RAY_UP)
def test_what_is_installed_is_mounted(name: str) -> None:
    config = load(name)
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
