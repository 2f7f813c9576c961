"""What Ray's own code for Google Cloud and Azure makes of our files.

Their libraries are not installed here: the modules that Ray imports from them are stand-ins, and so
are the answers. Tried is what Ray would ask for; whether the clouds would grant it is not.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.cluster.files import Config, adapted, check, load, node_types, text

LIBRARIES = (
    "google_auth_httplib2",
    "googleapiclient",
    "googleapiclient.discovery",
    "googleapiclient.errors",
    "googleapiclient.http",
    "google.oauth2",
    "google.oauth2.credentials",
    "google.oauth2.service_account",
    "httplib2",
    "azure",
    "azure.common",
    "azure.common.credentials",
    "azure.core",
    "azure.core.exceptions",
    "azure.identity",
    "azure.mgmt",
    "azure.mgmt.resource",
    "azure.mgmt.resource.resources",
    "azure.mgmt.resource.resources.models",
)
RAYS = "ray.autoscaler._private."


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Ray's modules for the two clouds can be imported; later tests find them as they were."""
    before = set(sys.modules)
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    errors = sys.modules["azure.core.exceptions"]
    for name in ("HttpResponseError", "ResourceNotFoundError"):
        setattr(errors, name, type(name, (Exception,), {}))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    for name in set(sys.modules) - before:
        if name.startswith((f"{RAYS}gcp", f"{RAYS}_azure")):
            del sys.modules[name]


def bootstrap_gcp(config: Config, monkeypatch: pytest.MonkeyPatch) -> tuple[Config, MagicMock]:
    """Ray's preparations in a project where everything is there but the SSH key."""
    code = importlib.import_module(f"{RAYS}gcp.config")
    projects, accounts, compute = MagicMock(), MagicMock(), MagicMock()
    project = config["provider"]["project_id"]
    answer = projects.projects.return_value
    answer.get.return_value.execute.return_value = {
        "lifecycleState": "ACTIVE",
        "projectId": project,
    }
    answer.getIamPolicy.return_value.execute.return_value = {"bindings": []}
    email = f"ray-autoscaler-sa-v1@{project}.iam.gserviceaccount.com"
    of_accounts = accounts.projects.return_value.serviceAccounts.return_value
    of_accounts.get.return_value.execute.return_value = {"email": email, "projectId": project}
    compute.projects.return_value.get.return_value.execute.return_value = {
        "name": project,
        "commonInstanceMetadata": {},
    }
    operations = compute.globalOperations.return_value
    operations.get.return_value.execute.return_value = {"status": "DONE"}
    clients = projects, accounts, compute, None
    monkeypatch.setattr(code, "construct_clients_from_provider_config", lambda _: clients)
    return code.bootstrap_gcp(config), compute


def google_file() -> Config:
    return check(adapted(load("gpu-gcp.yaml"), PROJECT="our-project", IMAGE="the-image"))


def test_google_gets_our_network_and_our_accounts(
    clouds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, compute = bootstrap_gcp(google_file(), monkeypatch)
    head, workers = node_types(config)
    # As `ray up` puts the head's settings together: Ray's account, which is wide, is overridden.
    assert config["head_node"]["serviceAccounts"][0]["email"].startswith("ray-autoscaler-sa-v1@")
    start = {**config["head_node"], **head["node_config"]}
    assert [one["email"].split("@")[0] for one in start["serviceAccounts"]] == ["rayxkd-head"]
    for worker in workers.values():
        emails = [one["email"] for one in worker["node_config"]["serviceAccounts"]]
        assert emails == ["rayxkd-worker@our-project.iam.gserviceaccount.com"]
    # Ray has not looked for a network of its own choice.
    compute.subnetworks.assert_not_called()
    for kind in (head, *workers.values()):
        (interface,) = kind["node_config"]["networkInterfaces"]
        assert interface["subnetwork"].endswith("/us-central1/subnetworks/rayxkd")
    assert Path(config["auth"]["ssh_private_key"]).stat().st_mode & 0o777 == 0o600


def test_what_google_is_asked_to_start(clouds: None) -> None:
    code = importlib.import_module(f"{RAYS}gcp.node")
    config = google_file()
    for kind, settings in config["available_node_types"].items():
        compute = MagicMock()
        zone = config["provider"]["availability_zone"]
        room = code.GCPCompute(compute, "our-project", zone, config["cluster_name"])
        labels = {"ray-node-name": "ray-rayxkd-gpu-worker", "ray-user-node-type": kind}
        room.create_instance(settings["node_config"], labels, wait_for_operation=False)
        asked = compute.instances.return_value.insert.call_args.kwargs
        assert asked["zone"] == zone
        body = asked["body"]
        machine = settings["node_config"]["machineType"]
        assert body["machineType"] == f"zones/{zone}/machineTypes/{machine}"
        assert body["labels"] == {"project": "rayxkd", "ray-cluster-name": "rayxkd-gpu", **labels}
        spot = body.get("scheduling", {}).get("provisioningModel") == "SPOT"
        assert spot is kind.endswith("_spot")
        if kind != "head":
            assert body["scheduling"]["onHostMaintenance"] == "TERMINATE"
        assert all(disk["autoDelete"] for disk in body["disks"])


def azure_file() -> Config:
    return check(adapted(load("gpu-azure.yaml"), SUBSCRIPTION="the-subscription", VERSION="1.2.3"))


def ray_template(name: str) -> Config:
    import ray.autoscaler._private as private

    template: Config = json.loads((Path(private.__path__[0]) / "_azure" / name).read_text())
    return template


def test_azure_parameters_are_those_of_rays_template() -> None:
    known = ray_template("azure-vm-template.json")["parameters"]
    kinds = {"string": str, "int": int, "object": dict, "bool": bool}
    # Ray gives these.
    given = {"vmName", "vmCount", "vmTags", "msi", "nsg", "subnet", "adminUsername", "publicKey"}
    needed = {name for name, one in known.items() if "defaultValue" not in one} - given
    for kind, settings in azure_file()["available_node_types"].items():
        parameters = settings["node_config"]["azure_arm_parameters"]
        assert needed <= set(parameters), kind
        for name, value in parameters.items():
            assert isinstance(value, kinds[known[name]["type"]]), (kind, name)


def prepare_azure(config: Config, networks: list[Any], monkeypatch: pytest.MonkeyPatch) -> Config:
    """Ray's preparations; the template that it would deploy."""
    code = importlib.import_module(f"{RAYS}_azure.config")
    client = MagicMock()
    client.resources.list_by_resource_group.return_value = networks
    rules = {"networkSecurityGroup": {"id": "ssh-from-one-range"}, "addressPrefix": "10.77.0.0/16"}
    network = MagicMock(properties={"subnets": [{"properties": rules}]})

    def get_by_id(address: str, *_: Any) -> Any:
        if address == "the-network":
            return network
        raise sys.modules["azure.core.exceptions"].ResourceNotFoundError

    client.resources.get_by_id.side_effect = get_by_id
    monkeypatch.setattr(code, "ResourceManagementClient", lambda *_: client)
    code._configure_resource_group(config)
    deployed = client.deployments.create_or_update.call_args.kwargs["parameters"]["properties"]
    assert deployed["parameters"]["clusterId"] == {"value": "rayxkd-gpu-team"}
    template: Config = deployed["template"]
    return template


def subnet_rules(template: Config) -> str:
    (network,) = [
        one for one in template["resources"] if one["type"] == "Microsoft.Network/virtualNetworks"
    ]
    (subnet,) = network["properties"]["subnets"]
    rules: str = subnet["properties"]["networkSecurityGroup"]["id"]
    return rules


def test_azure_keeps_the_rules_of_a_subnet_that_is_there(
    clouds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the file has one made before the first ``ray up``: Ray's own rules let anybody in."""
    config = azure_file()
    # By what Ray looks for a network, and how it would name one: as the file's head names them.
    unique = config["provider"]["unique_id"]
    names = f"ray-{config['cluster_name']}-{unique}-"
    comment = text("gpu-azure.yaml")
    assert f"--name {names}vnet" in comment
    assert f"--subnet-name {names}subnet" in comment
    assert f"--subnet-prefixes {config['provider']['subnet_mask']}" in comment

    found = MagicMock(id="the-network")
    assert subnet_rules(prepare_azure(config, [found], monkeypatch)) == "ssh-from-one-range"
    template = prepare_azure(config, [], monkeypatch)
    assert subnet_rules(template) == "[variables('nsg')]"
    (group,) = [
        one
        for one in template["resources"]
        if one["type"] == "Microsoft.Network/networkSecurityGroups"
    ]
    (rule,) = group["properties"]["securityRules"]
    assert rule["properties"]["sourceAddressPrefix"] == "*"
