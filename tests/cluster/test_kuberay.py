"""The files for Kubernetes are what KubeRay and Ray's autoscaler on it take.

Always: against the schema in `kuberay_schema.py`, and through Ray's own code that makes the
autoscaler's configuration of a RayCluster. With ``RAYXKD_KUBERAY_CRDS`` set to a folder that holds
`ray.io_rayclusters.yaml` and `ray.io_rayjobs.yaml` (`helm-chart/kuberay-operator/crds` of KubeRay's
repository): against those too. Not tried, since there is no Kubernetes here: anything that runs.
"""

from __future__ import annotations

import copy
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from rayxkd.fleet.machines import Fleet, Machine, Resources
from rayxkd.fleet.plan import plan_workers
from tests.cluster.files import KUBERNETES, Config, launches, load, load_all
from tests.cluster.kuberay_schema import KINDS

FILES = ("kuberay-cluster.yaml", "kuberay-job.yaml")
PART_OF = {"app.kubernetes.io/part-of": "rayxkd"}


def check(thing: Config) -> None:
    Draft202012Validator(KINDS[thing["kind"]]).validate(thing)


def cluster_of(thing: Config) -> Config:
    """The RayCluster's specification, in itself or in a job."""
    spec: Config = thing["spec"]
    inner: Config = spec.get("rayClusterSpec", spec)
    return inner


def things(kind: str) -> list[Config]:
    return [thing for thing in load_all("kuberay-namespace.yaml") if thing["kind"] == kind]


@pytest.mark.parametrize("name", KUBERNETES)
def test_it_is_well_formed(name: str) -> None:
    for thing in load_all(name):
        check(thing)


def misspelt_field(thing: Config) -> None:
    options = cluster_of(thing)["autoscalerOptions"]
    options["idleTimeoutSecond"] = options.pop("idleTimeoutSeconds")


def number_for_text(thing: Config) -> None:
    cluster_of(thing)["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def no_such_mode(thing: Config) -> None:
    cluster_of(thing)["authOptions"]["mode"] = "password"


def no_limits(thing: Config) -> None:
    cluster_of(thing)["workerGroupSpecs"][0].pop("maxReplicas")


def pod_without_container(thing: Config) -> None:
    cluster_of(thing)["headGroupSpec"]["template"]["spec"].pop("containers")


def at_the_wrong_level(thing: Config) -> None:
    cluster_of(thing)["idleTimeoutSeconds"] = 600


SPOILT = [
    misspelt_field,
    number_for_text,
    no_such_mode,
    pod_without_container,
    at_the_wrong_level,
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", [*SPOILT, no_limits])
def test_a_spoilt_copy_is_refused(name: str, spoil: Callable[[Config], None]) -> None:
    thing = load(name)
    spoil(thing)
    with pytest.raises(ValidationError):
        check(thing)


def closed(schema: Any) -> Any:
    """A CRD's schema that refuses fields it does not know, as ``kubectl apply`` does."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: closed(inner) for key, inner in schema.items()}
    fields = strict.get("properties")
    lenient = "additionalProperties" in strict or strict.get("x-kubernetes-preserve-unknown-fields")
    # A field may itself be called `properties` or `type`: only a schema has a type that is text.
    if isinstance(fields, dict) and strict.get("type") == "object" and not lenient:
        strict["additionalProperties"] = False
        # Checked by Kubernetes itself, and left open in the CRD.
        if set(fields) >= {"apiVersion", "kind", "metadata"}:
            fields["metadata"] = {"type": "object"}
        elif fields.get("metadata") == {"type": "object"}:
            fields["metadata"] = {"type": "object", "additionalProperties": True}
    return strict


@pytest.fixture(scope="module")
def crds() -> dict[str, Draft202012Validator]:
    folder = os.environ.get("RAYXKD_KUBERAY_CRDS")
    if not folder:
        pytest.skip("needs KubeRay's CRDs in the folder that RAYXKD_KUBERAY_CRDS names")
    found = {}
    for kind in ("rayclusters", "rayjobs"):
        definition = yaml.load(
            (Path(folder) / f"ray.io_{kind}.yaml").read_text(),
            getattr(yaml, "CSafeLoader", yaml.SafeLoader),
        )["spec"]
        (version,) = [one for one in definition["versions"] if one["name"] == "v1"]
        schema = closed(version["schema"]["openAPIV3Schema"])
        found[definition["names"]["kind"]] = Draft202012Validator(schema)
    return found


@pytest.mark.parametrize("name", FILES)
def test_kuberays_crd_takes_it(name: str, crds: dict[str, Draft202012Validator]) -> None:
    thing = load(name)
    crds[thing["kind"]].validate(thing)
    for spoil in SPOILT:
        spoilt = copy.deepcopy(thing)
        spoil(spoilt)
        with pytest.raises(ValidationError):
            crds[thing["kind"]].validate(spoilt)


def autoscaling(name: str) -> Config:
    """What Ray's autoscaler makes of the file; KubeRay gives it a RayCluster."""
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )

    thing = load(name)
    metadata = {"name": "rayxkd", "namespace": thing["metadata"]["namespace"]}
    config: Config = _derive_autoscaling_config_from_ray_cr(
        {"metadata": metadata, "spec": copy.deepcopy(cluster_of(thing))}
    )
    return config


@pytest.mark.parametrize("name", FILES)
def test_rays_autoscaler_takes_it(name: str) -> None:
    config = autoscaling(name)
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"]["CPU"] == 0
    assert head["max_workers"] == 0
    assert {kind: one["resources"]["GPU"] for kind, one in types.items()} == {"gpu": 1, "large": 4}
    for worker in types.values():
        assert worker["min_workers"] == 0
        assert worker["max_workers"] >= 1
    assert 0 < config["idle_timeout_minutes"] <= 15


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("actor", "count", "started"),
    [
        ({"CPU": 3, "GPU": 1}, 8, {"gpu": 8}),
        ({"CPU": 1, "GPU": 0.5}, 4, {"gpu": 2}),
        ({"CPU": 11, "GPU": 1}, 8, {"large": 2}),
    ],
)
def test_cheap_nodes_come_first(
    name: str, actor: dict[str, float], count: int, started: dict[str, int]
) -> None:
    assert launches(autoscaling(name), [actor] * count) == started


@pytest.mark.parametrize("name", FILES)
def test_the_token_is_asked_for_and_nothing_is_published(name: str) -> None:
    cluster = cluster_of(load(name))
    assert cluster["authOptions"] == {"mode": "token"}
    everything = yaml.safe_dump(cluster)
    for open_door in ("0.0.0.0", "NodePort", "LoadBalancer", "ingress", "hostNetwork", "hostPort"):
        assert open_door not in everything


def test_the_dashboard_is_on_loopback_where_nobody_has_to_reach_it() -> None:
    head = {name: cluster_of(load(name))["headGroupSpec"]["rayStartParams"] for name in FILES}
    assert head["kuberay-cluster.yaml"]["dashboard-host"] == "127.0.0.1"
    # The operator asks a job's dashboard how it goes: see the next test.
    assert "dashboard-host" not in head["kuberay-job.yaml"]


def test_the_wall_lets_in_the_nodes_and_the_operator() -> None:
    (policy,) = things("NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == PART_OF
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    nodes, operator = policy["spec"]["ingress"]
    assert nodes == {"from": [{"podSelector": {"matchLabels": PART_OF}}]}
    assert [port["port"] for port in operator["ports"]] == [8265]
    # Both in one: a pod of the operator, in the operator's namespace.
    (source,) = operator["from"]
    assert set(source) == {"podSelector", "namespaceSelector"}
    for name in FILES:
        cluster = cluster_of(load(name))
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            assert group["template"]["metadata"]["labels"] == PART_OF
        assert load(name)["metadata"]["namespace"] == policy["metadata"]["namespace"]


@pytest.mark.parametrize("name", FILES)
def test_pods_have_the_accounts_that_are_made_for_them(name: str) -> None:
    made = {account["metadata"]["name"] for account in things("ServiceAccount")}
    cluster = cluster_of(load(name))
    assert cluster["headGroupSpec"]["template"]["spec"]["serviceAccountName"] in made
    for worker in cluster["workerGroupSpecs"]:
        pod = worker["template"]["spec"]
        assert pod["serviceAccountName"] in made
        # What a worker computes is other people's; it has no word in Kubernetes.
        assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", FILES)
def test_gpus_are_bounded(name: str) -> None:
    (quota,) = things("ResourceQuota")
    bound = int(quota["spec"]["hard"]["requests.nvidia.com/gpu"])
    for worker in cluster_of(load(name))["workerGroupSpecs"]:
        (container,) = worker["template"]["spec"]["containers"]
        each = container["resources"]
        assert each["requests"] == each["limits"]
        assert worker["maxReplicas"] * int(each["limits"]["nvidia.com/gpu"]) <= bound


@pytest.mark.parametrize("name", FILES)
def test_spot_nodes_are_preferred_and_not_required(name: str) -> None:
    for worker in cluster_of(load(name))["workerGroupSpecs"]:
        affinity = worker["template"]["spec"]["affinity"]["nodeAffinity"]
        assert set(affinity) == {"preferredDuringSchedulingIgnoredDuringExecution"}


def test_a_job_cleans_up_after_itself() -> None:
    job = load("kuberay-job.yaml")["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert 0 < job["ttlSecondsAfterFinished"] <= 900
    assert 0 < job["activeDeadlineSeconds"] <= 24 * 3600
    # The rest is the standing cluster's, but for where the dashboard listens.
    ours = copy.deepcopy(cluster_of(load("kuberay-cluster.yaml")))
    ours["headGroupSpec"]["rayStartParams"].pop("dashboard-host")
    assert job["rayClusterSpec"] == ours


def test_a_job_runs_a_command_that_there_is() -> None:
    from rayxkd.cli import app

    program, *words = shlex.split(load("kuberay-job.yaml")["spec"]["entrypoint"])
    assert program == "rayxkd"
    _, asked, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    settings = next(iter(asked.arguments.values()))
    assert settings.out.startswith("s3://")
    # What it asks for starts cheap nodes.
    found = Resources((Machine(0),), fleet_of(load("kuberay-job.yaml")), joined=True)
    plan = plan_workers(32, found)
    started = launches(
        autoscaling("kuberay-job.yaml"), [{"CPU": plan.cpus, "GPU": plan.gpus}] * plan.workers
    )
    assert started == {"gpu": plan.workers}


def fleet_of(thing: Config) -> Fleet:
    """What jobs on its head are told."""
    head = cluster_of(thing)["headGroupSpec"]["template"]["spec"]["containers"][0]
    return Fleet.read(next(one["value"] for one in head["env"] if one["name"] == "RAYXKD_FLEET"))


@pytest.mark.parametrize("name", FILES)
def test_jobs_are_told_what_may_be_started(name: str) -> None:
    told = fleet_of(load(name)).types
    groups = cluster_of(load(name))["workerGroupSpecs"]
    assert [kind.most for kind in told] == [group["maxReplicas"] for group in groups]
    for kind, group in zip(told, groups, strict=True):
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        expected = (float(limits["cpu"]), float(limits["nvidia.com/gpu"]))
        assert (kind.machine.cpus, kind.machine.gpus) == expected
