"""`cluster/gpu.yaml` and `cluster/aws-account.yaml` through Ray's own AWS provider, on moto.

The stack of the account is made, then the cluster comes up, grows, shrinks and goes, by Ray's own
code for ``ray up``, for its autoscaler (v2) and for ``ray down``. Only the cloud is moto's, on the
loopback interface, and the remote shell takes notes instead of connecting.

What this cannot try, since it takes AWS and its machines:

- SSH, and so whether the setup commands, Docker and ``ray start`` succeed on a machine;
- the machine image: that the one named by SSM has Docker and a driver that suits PyTorch, that the
  image of the container exists, and that both fit the disk;
- whether the roles suffice: the actions are compared with the calls that Ray makes, but conditions
  and resources of a policy are not evaluated; nor is a worker's access to the bucket tried;
- the budget: moto's CloudFormation leaves it out;
- capacity and its lack, quotas, interruptions of spot machines, prices, and time.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.files import FOLDER, Config, adapted, check, launches, load, node_types
from tests.cluster.ray_up import Shell, down, prepare, up

SSH_FROM = "203.0.113.0/24"
# Of those that moto knows.
IMAGE = "ami-785db401"
ALIVE = {"pending", "running", "stopping", "stopped"}


def forget_clients() -> None:
    """Ray keeps its clients, and with them the addresses and keys of earlier tests."""
    import boto3
    from ray.autoscaler._private.aws import config, utils

    boto3.DEFAULT_SESSION = None
    for cache in (utils.resource_cache, utils.client_cache, config._get_subnets_or_die):
        cache.cache_clear()


@dataclass
class Account:
    """An account with the stack in it, and what is asked of it."""

    ec2: Any
    iam: Any
    group: str
    shell: Shell

    def file(self) -> Config:
        """The cluster file as a reader has to adapt it."""
        return adapted(load("gpu.yaml"), sg=self.group, ami=IMAGE)

    def instances(self) -> list[Config]:
        """Those that run or could run again."""
        found = self.ec2.describe_instances()["Reservations"]
        machines = [machine for group in found for machine in group["Instances"]]
        return [machine for machine in machines if machine["State"]["Name"] in ALIVE]


@dataclass
class Life:
    """What there was to see while a cluster came and went."""

    resolved: Config
    told: Config
    shell: Shell
    key_mode: int
    group: str
    after: dict[str, list[Config]] = field(default_factory=dict)
    groups: list[Config] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)
    profiles: dict[str, list[str]] = field(default_factory=dict)
    volumes: dict[str, list[Config]] = field(default_factory=dict)
    calls: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def account(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": s3_endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": load("gpu.yaml")["provider"]["region"],
        }.items():
            patch.setenv(name, value)
        shell = prepare(patch, tmp_path_factory.mktemp("aws"))
        patch.setattr("ray.autoscaler._private.aws.node_provider.TAG_BATCH_DELAY", 0)
        forget_clients()
        ec2, stacks = boto3.client("ec2"), boto3.client("cloudformation")
        (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        settings = {"Vpc": vpc["VpcId"], "SshFrom": SSH_FROM, "Bucket": "teachers"}
        stacks.create_stack(
            StackName="rayxkd",
            TemplateBody=(FOLDER / "aws-account.yaml").read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in settings.items()
            ],
        )
        (stack,) = stacks.describe_stacks(StackName="rayxkd")["Stacks"]
        (output,) = stack["Outputs"]
        yield Account(ec2, boto3.client("iam"), output["OutputValue"], shell)
        stacks.delete_stack(StackName="rayxkd")
        forget_clients()


class HeadsView:
    """What the autoscaler on the head reads, from the file that ``ray up`` put there."""

    def __init__(self, told: Config) -> None:
        from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

        self._config = AutoscalingConfig(told, skip_content_hash=True)

    def get_cached_autoscaling_config(self) -> Any:
        return self._config


def until(reached: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "Ray is not done"
        time.sleep(0.1)


def grow_and_shrink(account: Account, life: Life) -> None:
    """Start a worker of each type as the head would, set a status, and end them again."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler.v2.instance_manager.node_provider import NodeProviderAdapter

    provider = AWSNodeProvider(life.told["provider"], life.told["cluster_name"])
    events = [
        resource.meta.client.meta.events for resource in (provider.ec2, provider.ec2_fail_fast)
    ]

    def note(model: Any, **_: Any) -> None:
        life.calls.add(f"{model.service_model.service_name}:{model.name}")

    for one in events:
        one.register("before-call", note)
    _, workers = node_types(life.told)
    fleet = NodeProviderAdapter(provider, HeadsView(life.told))
    # One each: asked for one to three machines, moto starts one and AWS three.
    fleet.launch(dict.fromkeys(workers, 1), "the-request")
    until(lambda: len(fleet.get_non_terminated()) == 1 + len(workers))
    found = fleet.get_non_terminated()
    started = [name for name, node in found.items() if node.request_id == "the-request"]
    provider.set_node_tags(started[0], {"ray-node-status": "up-to-date"})
    life.after["growing"] = account.instances()
    life.volumes["growing"] = account.ec2.describe_volumes()["Volumes"]
    fleet.terminate(started, "the-end")
    until(lambda: len(fleet.get_non_terminated()) == 1)
    assert not fleet.poll_errors()
    life.after["shrinking"] = account.instances()
    for one in events:
        one.unregister("before-call", note)


@pytest.fixture(scope="module")
def life(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A cluster from ``ray up`` to ``ray down``."""
    file = tmp_path_factory.mktemp("cluster") / "gpu.yaml"
    file.write_text(yaml.safe_dump(account.file()))
    resolved = up(file)
    key = Path(resolved["auth"]["ssh_private_key"])
    # On the head lies what was sent there.
    on_the_head = Path("~/ray_bootstrap_key.pem").expanduser()
    on_the_head.write_bytes(account.shell.file("ray_bootstrap_key.pem"))
    told = json.loads(account.shell.file("ray_bootstrap_config.yaml"))
    life = Life(resolved, told, account.shell, key.stat().st_mode & 0o777, account.group)
    life.after["up"] = account.instances()
    life.groups = account.ec2.describe_security_groups()["SecurityGroups"]
    life.roles = {role["RoleName"] for role in account.iam.list_roles()["Roles"]}
    life.profiles = {
        one["InstanceProfileName"]: [role["RoleName"] for role in one["Roles"]]
        for one in account.iam.list_instance_profiles()["InstanceProfiles"]
    }
    grow_and_shrink(account, life)
    down(file)
    life.after["down"] = account.instances()
    life.volumes["down"] = account.ec2.describe_volumes()["Volumes"]
    return life


def tags_of(thing: Config) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}


def test_up_starts_the_head_and_nothing_else(life: Life) -> None:
    (head,) = life.after["up"]
    assert head["InstanceType"] == "m5.xlarge"
    assert head["ImageId"] == IMAGE
    assert head["IamInstanceProfile"]["Arn"].endswith("/rayxkd-head")
    assert "InstanceLifecycle" not in head  # a head that is interrupted is a cluster that is lost
    tags = tags_of(head)
    assert tags["ray-cluster-name"] == "rayxkd-gpu"
    assert tags["ray-node-type"] == "head"
    assert tags["ray-user-node-type"] == "head"
    assert tags["ray-node-status"] == "up-to-date"
    assert tags["Project"] == "rayxkd"


def test_the_head_was_set_up_in_the_container(life: Life) -> None:
    (started,) = life.shell.ran("docker run")
    assert load("gpu.yaml")["docker"]["image"] in started
    assert "--runtime=nvidia" in started
    (start,) = life.shell.ran("ray start --head")
    assert "docker exec" in start
    assert "RAY_AUTH_MODE=token" in start
    assert "--dashboard-host=127.0.0.1" in start
    assert life.shell.file("/home/ray/.ray/auth_token") == b"the-token"
    # It is handed on as a file, never written on a command line.
    assert not life.shell.ran("the-token")


def test_the_key_is_made_and_kept_from_others(life: Life) -> None:
    names = {kind["node_config"]["KeyName"] for kind in life.told["available_node_types"].values()}
    assert names == {"ray-autoscaler_us-west-2"}
    assert life.key_mode == 0o600


def test_only_ssh_from_one_range_gets_in(life: Life) -> None:
    everyone = [machine for machines in life.after.values() for machine in machines]
    used = {group["GroupId"] for machine in everyone for group in machine["SecurityGroups"]}
    assert used == {life.group}
    (group,) = [group for group in life.groups if group["GroupId"] == life.group]
    between, ssh = sorted(group["IpPermissions"], key=lambda rule: rule["IpProtocol"])
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"]) == ("tcp", 22, 22)
    assert [source["CidrIp"] for source in ssh["IpRanges"]] == [SSH_FROM]
    assert not ssh["Ipv6Ranges"]
    assert not ssh["UserIdGroupPairs"]
    assert between["IpProtocol"] == "-1"
    assert [source["GroupId"] for source in between["UserIdGroupPairs"]] == [life.group]
    assert not between["IpRanges"]
    assert not between["Ipv6Ranges"]


def test_ray_made_no_group_and_no_role_of_its_own(life: Life) -> None:
    assert not [one["GroupName"] for one in life.groups if "ray-autoscaler" in one["GroupName"]]
    assert life.roles == {"rayxkd-head", "rayxkd-worker"}
    assert life.profiles == {name: [name] for name in life.roles}


def test_subnets_are_those_of_the_zones_in_order(life: Life) -> None:
    for kind in life.told["available_node_types"].values():
        assert len(kind["node_config"]["SubnetIds"]) == 3


def test_workers_are_spot_or_not_as_their_type_says(life: Life) -> None:
    workers = [one for one in life.after["growing"] if tags_of(one)["ray-node-type"] == "worker"]
    _, types = node_types(life.told)
    assert len(workers) == len(types)
    for worker in workers:
        tags = tags_of(worker)
        kind = tags["ray-user-node-type"]
        assert worker["InstanceType"] == types[kind]["node_config"]["InstanceType"]
        assert worker.get("InstanceLifecycle") == ("spot" if kind.endswith("_spot") else None)
        assert worker["IamInstanceProfile"]["Arn"].endswith("/rayxkd-worker")
        assert tags["ray-cluster-name"] == "rayxkd-gpu"
        assert tags["ray-launch-request"] == "the-request"
        assert tags["Project"] == "rayxkd"
    assert "up-to-date" in {tags_of(worker)["ray-node-status"] for worker in workers}


def test_disks_are_tagged_encrypted_and_go_with_their_machine(life: Life) -> None:
    assert len(life.volumes["growing"]) == len(life.after["growing"])
    for volume in life.volumes["growing"]:
        assert tags_of(volume)["Project"] == "rayxkd"
        assert volume["Encrypted"]
        assert volume["Size"] == 150
    assert not life.volumes["down"]


def test_nothing_is_left_running(life: Life) -> None:
    (head,) = life.after["shrinking"]
    assert tags_of(head)["ray-node-type"] == "head"
    assert life.after["down"] == []


def heads_statements() -> list[Config]:
    (policy,) = load("aws-account.yaml")["Resources"]["HeadRole"]["Properties"]["Policies"]
    statements: list[Config] = policy["PolicyDocument"]["Statement"]
    return statements


def test_the_heads_policy_allows_what_ray_calls_and_not_more(life: Life) -> None:
    actions = {action for one in heads_statements() for action in one["Action"]}
    # Handing a machine its role is no call of its own.
    assert actions - {"iam:PassRole"} == life.calls


def test_the_policy_knows_the_cluster_and_its_machines(life: Life) -> None:
    _, types = node_types(life.told)
    statements = heads_statements()
    conditions = [one["Condition"]["StringEquals"] for one in statements if "Condition" in one]
    (start,) = [one for one in conditions if "ec2:InstanceType" in one]
    bought = {kind["node_config"]["InstanceType"] for kind in types.values()}
    assert set(start["ec2:InstanceType"]) == bought
    named = [one[key] for one in conditions for key in one if key.endswith("/ray-cluster-name")]
    assert named == [life.told["cluster_name"]] * 2
    # What it may end, start or mark anywhere, without a condition: nothing.
    for one in statements:
        if one["Resource"] == "*":
            assert one["Action"] == ["ec2:DescribeInstances"]


def test_resources_are_those_of_the_machines(life: Life, account: Account) -> None:
    types = life.told["available_node_types"]
    names = sorted({kind["node_config"]["InstanceType"] for kind in types.values()})
    known = {
        one["InstanceType"]: one
        for one in account.ec2.describe_instance_types(InstanceTypes=names)["InstanceTypes"]
    }
    _, workers = node_types(life.told)
    for worker in workers.values():
        machine = known[worker["node_config"]["InstanceType"]]
        assert worker["resources"]["CPU"] == machine["VCpuInfo"]["DefaultVCpus"]
        gpus = sum(one["Count"] for one in machine["GpuInfo"]["Gpus"])
        assert worker["resources"]["GPU"] == gpus


@pytest.mark.parametrize(
    ("actor", "count", "started"),
    [
        ({"CPU": 4, "GPU": 1}, 8, {"gpu_spot": 8}),
        ({"CPU": 1, "GPU": 0.5}, 4, {"gpu_spot": 2}),
        ({"CPU": 12, "GPU": 1}, 8, {"large_spot": 2}),
    ],
)
def test_cheap_ones_come_first_with_what_ray_adds_on_aws(
    life: Life, actor: dict[str, float], count: int, started: dict[str, int]
) -> None:
    """Ray adds memory and the kind of GPU to what a type offers, which changes its choice."""
    assert "memory" in life.told["available_node_types"]["large_spot"]["resources"]
    assert launches(life.told, [actor] * count) == started


def test_a_group_of_rays_own_lets_ssh_in_from_anywhere(account: Account) -> None:
    """Why the file names a group: IpPermissions are added to Ray's rules, and narrow nothing."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = account.file()
    for kind in config["available_node_types"].values():
        del kind["node_config"]["SecurityGroupIds"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": SSH_FROM}]}
    config["provider"]["security_group"] = {"GroupName": "open", "IpPermissions": [ssh]}
    AWSNodeProvider.bootstrap_config(check(config))
    found = account.ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["open"]}]
    )
    (group,) = found["SecurityGroups"]
    ranges = {source["CidrIp"] for rule in group["IpPermissions"] for source in rule["IpRanges"]}
    assert ranges == {SSH_FROM, "0.0.0.0/0"}
    account.ec2.delete_security_group(GroupId=group["GroupId"])


def test_a_file_that_was_not_adapted_starts_nothing(account: Account) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    before = account.ec2.describe_security_groups()["SecurityGroups"]
    with pytest.raises(AssertionError):
        AWSNodeProvider.bootstrap_config(check(load("gpu.yaml")))
    assert account.ec2.describe_security_groups()["SecurityGroups"] == before


@pytest.mark.slow
def test_a_machine_that_does_not_exist_is_told(account: Account) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = check(account.file())
    config["available_node_types"]["gpu_spot"]["node_config"]["InstanceType"] = "g5.tiny"
    with pytest.raises(ValueError, match=r"g5\.tiny is not available"):
        AWSNodeProvider.fillout_available_node_types_resources(config)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("203.0.113.7/32", True),
        ("203.0.0.0/16", True),
        ("0.0.0.0/0", False),
        ("10.0.0.0/8", False),
        ("203.0.113.7", False),
        ("::/0", False),
    ],
)
def test_the_stack_refuses_to_open_ssh_to_the_world(given: str, taken: bool) -> None:
    pattern = load("aws-account.yaml")["Parameters"]["SshFrom"]["AllowedPattern"]
    assert bool(re.search(pattern, given)) is taken


@pytest.mark.slow
def test_cloudformation_would_accept_the_stack() -> None:
    from cfnlint.api import lint
    from cfnlint.config import ManualArgs

    region = load("gpu.yaml")["provider"]["region"]
    found = lint((FOLDER / "aws-account.yaml").read_text(), config=ManualArgs(regions=[region]))
    assert [str(match) for match in found] == []
