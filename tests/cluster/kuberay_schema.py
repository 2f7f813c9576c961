"""What KubeRay's CRDs and Kubernetes allow, as far as our files go.

Written by hand from the field reference of KubeRay (1.5.1 to 1.7): the CRDs themselves are a
megabyte each. A field that is not here is refused, so that a misspelt one is found; one that our
files come to use is added here. `test_kuberay.py` also takes the CRDs where they are at hand.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
NAME: Schema = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}
# Kubernetes takes numbers too; as text they are the same for every reader.
QUANTITY: Schema = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def record(*required: str, **fields: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
    }


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


METADATA = {
    "type": "object",
    "properties": {"name": NAME, "generateName": TEXT, "namespace": NAME, "labels": TEXTS},
    "oneOf": [{"required": ["name"]}, {"required": ["generateName"]}],
    "additionalProperties": False,
}
AMOUNTS: Schema = {"type": "object", "additionalProperties": QUANTITY}
RESOURCES = record("requests", "limits", requests=AMOUNTS, limits=AMOUNTS)
MATCH = record(
    "key",
    "operator",
    key=TEXT,
    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]},
    values=many(TEXT),
)
PREFERENCE = record(
    "weight",
    "preference",
    weight={"type": "integer", "minimum": 1, "maximum": 100},
    preference=record(matchExpressions=many(MATCH)),
)
TOLERATION = record(
    key=TEXT,
    operator={"enum": ["Exists", "Equal"]},
    value=TEXT,
    effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
)
CONTAINER = record(
    "name",
    "image",
    "resources",
    name=NAME,
    image=TEXT,
    env=many(record("name", "value", name=TEXT, value={"type": "string"})),
    resources=RESOURCES,
)
POD = record(
    "spec",
    metadata=record(labels=TEXTS),
    spec=record(
        "containers",
        serviceAccountName=NAME,
        automountServiceAccountToken=FLAG,
        affinity=record(
            nodeAffinity=record(preferredDuringSchedulingIgnoredDuringExecution=many(PREFERENCE))
        ),
        tolerations=many(TOLERATION),
        containers=many(CONTAINER),
    ),
)
CLUSTER = record(
    "rayVersion",
    "headGroupSpec",
    "workerGroupSpecs",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=record("mode", mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=record(
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        resources=RESOURCES,
    ),
    headGroupSpec=record("rayStartParams", "template", rayStartParams=TEXTS, template=POD),
    workerGroupSpecs=many(
        record(
            "groupName",
            "minReplicas",
            "maxReplicas",
            "rayStartParams",
            "template",
            groupName=NAME,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        )
    ),
)
JOB = record(
    "entrypoint",
    "rayClusterSpec",
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    activeDeadlineSeconds={**COUNT, "minimum": 1},
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER,
)
PEER = record(
    podSelector=record("matchLabels", matchLabels=TEXTS),
    namespaceSelector=record("matchLabels", matchLabels=TEXTS),
)
POLICY = record(
    "podSelector",
    "policyTypes",
    podSelector=record("matchLabels", matchLabels=TEXTS),
    policyTypes=many({"enum": ["Ingress", "Egress"]}),
    ingress=many(
        record(
            "from",
            **{"from": many(PEER)},
            ports=many(record("port", protocol={"enum": ["TCP", "UDP"]}, port=COUNT)),
        )
    ),
)


def thing(version: str, kind: str, spec: Schema | None) -> Schema:
    fields = {"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": METADATA}
    if spec is None:
        return record(*fields, **fields)
    return record(*fields, "spec", **fields, spec=spec)


KINDS: dict[str, Schema] = {
    "RayCluster": thing("ray.io/v1", "RayCluster", CLUSTER),
    "RayJob": thing("ray.io/v1", "RayJob", JOB),
    "Namespace": thing("v1", "Namespace", None),
    "ServiceAccount": thing("v1", "ServiceAccount", None),
    "ResourceQuota": thing("v1", "ResourceQuota", record("hard", hard=AMOUNTS)),
    "NetworkPolicy": thing("networking.k8s.io/v1", "NetworkPolicy", POLICY),
}
