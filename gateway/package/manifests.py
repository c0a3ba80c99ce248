"""Manifests for Kubernetes: plain ones with a kustomization, and a KServe InferenceService with our image as its runtime.

Each number in them comes from `Plan`; docs/kubernetes.md explains them. No manifest holds a key: the kustomization makes the
Secret from a file that the operator writes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import yaml

from gateway.package.contents import Contents
from gateway.package.manifest import environment_key
from gateway.package.patterns import checked
from gateway.rundir.version_log import LARGEST as LARGEST_LOG
from registry import services
from registry.resources import ResourceConfiguration

Manifest = Mapping[str, Any]

#: A container that serves iris uses 236 MiB in all, measured by its own group; its one child is 47 MiB of that. The rest, and as
#: much again for bodies of requests, is the gateway's, whose own nursery is always there. Another environment has one of 86 MiB.
GATEWAY_MIB: Final = 384
ENVIRONMENT_MIB: Final = 128
#: Cores of the gateway beside its models: what it is promised, and what it may take (one HTTP process and the supervisor).
GATEWAY_CPU: Final = (0.1, 1.0)

#: Of the disk: the records with what is made again, and each version's log with the one before it.
RECORDS_MIB: Final = 256
LOGS_MIB: Final = 2 * LARGEST_LOG // 2**20

DRAIN_S: Final = 20  # what was accepted is finished
PRE_STOP_S: Final = 5  # until no load balancer sends anything any more
_PROGRESS_S: Final = 600  # Kubernetes' own patience with a new pod; more only where loading may take longer
_LAST_S: Final = 10  # ending children, twice what the supervisor takes
_PORT: Final = 8080
_USER: Final = 10001
_KEY_PATH: Final = "/run/secrets/fitserve"


@dataclass(frozen=True)
class Plan:
    """What the manifests say, all of it checked.

    Attributes:
        cpu: cores, (request, limit): those of all models, and the gateway's.
        memory_mib: request and limit alike, since memory cannot be taken back: the models' limits and the gateway's need.
        reserve_gb: the gateway's part of it, which admission never promises to a model.
        start_s: the longest time that loading all models may take.
    """

    name: str
    image: str
    version: str
    models: tuple[str, ...]
    cpu: tuple[float, float]
    memory_mib: int
    reserve_gb: float
    start_s: int
    disk_mib: int
    least: int
    most: int

    @classmethod
    def of(cls, contents: Contents, *, image: str, least: int = 2, most: int = 6) -> Self:
        """Everything in Kubernetes is called as the image is, without its registry, folders and tag.

        Raises:
            UnsafeValue: the image, or a name, does not match its pattern.
        """
        name = re.split("[:@]", checked("an image", image).rpartition("/")[2])[0]
        first = contents.models[0].record
        records = [packaged.record for packaged in contents.models]
        others = {environment_key(each.environment) for each in contents.models if not each.environment.own}
        overhead = GATEWAY_MIB + ENVIRONMENT_MIB * len(others)
        limits = [record.resource_configuration for record in records] + _own_limits(contents)
        cores = sum(limit.cores for limit in limits)
        models_mib = sum(math.ceil(limit.memory_bytes / 2**20) for limit in limits)
        size = sum(record.artifact.size for record in records)
        return cls(
            name=checked("a name in Kubernetes", kubernetes_name(name)),
            image=image,
            version=str(first.version),
            models=tuple(checked("a model", record.id) for record in records),
            cpu=(cores + GATEWAY_CPU[0], cores + GATEWAY_CPU[1]),
            memory_mib=models_mib + overhead,
            reserve_gb=round(overhead / 1024, 3),
            start_s=60 * len(records) + 10 * math.ceil(size / 2**30),
            disk_mib=RECORDS_MIB + LOGS_MIB * len(limits) + 2 * math.ceil(size / 2**20),
            least=least,
            most=most,
        )

    @property
    def grace_s(self) -> int:
        return PRE_STOP_S + DRAIN_S + _LAST_S


def kubernetes_name(name: str) -> str:
    """A name of Kubernetes' kind for a model's name, which may hold more."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    return plain if plain[:1].isalpha() else f"m-{plain}"


def files(plan: Plan) -> dict[str, str]:
    """File name → text. The same plan gives the same bytes."""
    made = {f"{kind.lower()}.yaml": _text(plan, document) for kind, document in manifests(plan).items()}
    made["kustomization.yaml"] = _text(plan, _kustomization(plan, sorted(made)))
    made["kserve/inferenceservice.yaml"] = _text(plan, inference_service(plan))
    made[".gitignore"] = "key.txt\n"  # all the rest may be committed
    return made


def manifests(plan: Plan) -> dict[str, Manifest]:
    """Kind → plain manifest, all but the Secret."""
    return {
        "Deployment": _deployment(plan),
        "Service": _service(plan),
        "HorizontalPodAutoscaler": _autoscaler(plan),
        "PodDisruptionBudget": _disruption_budget(plan),
        "NetworkPolicy": _network_policy(plan),
    }


def container(plan: Plan, name: str) -> Manifest:
    """The one container of a pod, the same for the Deployment and for KServe."""
    quantities = {
        "requests": {"cpu": _cpu(plan.cpu[0]), "memory": _mib(plan.memory_mib)},
        "limits": {"cpu": _cpu(plan.cpu[1]), "memory": _mib(plan.memory_mib)},
    }
    return {
        "name": name,
        "image": plan.image,
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "env": [
            {"name": "FITSERVE_KEY_FILE", "value": f"{_KEY_PATH}/key"},
            {"name": "FITSERVE_DRAIN_S", "value": str(DRAIN_S)},
            {"name": "FITSERVE_RESERVE_GB", "value": str(plan.reserve_gb)},
        ],
        "resources": quantities,
        "startupProbe": _probe("/readyz?strict=1", period=2, failures=math.ceil(plan.start_s / 2)),
        "readinessProbe": _probe("/readyz", period=5, failures=2),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PRE_STOP_S)]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "workspace", "mountPath": "/workspace"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the pod
            {"name": "key", "mountPath": _KEY_PATH, "readOnly": True},
        ],
    }


def pod(plan: Plan, container_name: str) -> Manifest:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": plan.grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(plan, container_name)],
        "volumes": [
            {"name": "workspace", "emptyDir": {"sizeLimit": _mib(plan.disk_mib)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "key", "secret": {"secretName": f"{plan.name}-key", "defaultMode": 0o440}},
        ],
    }


def inference_service(plan: Plan) -> Manifest:
    """KServe's form, of which the pod is ours; models answer at /v1/models/NAME:predict and at /v2 too.

    KServe makes a Deployment of it, not a Knative service, which takes no grace period and no `preStop`. Its releases from 0.16 on
    call that mode Standard and know this name of it too.
    """
    predictor = {"minReplicas": plan.least, "maxReplicas": plan.most, **pod(plan, "kserve-container")}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {**_metadata(plan), "annotations": {"serving.kserve.io/deploymentMode": "RawDeployment"}},
        "spec": {"predictor": predictor},
    }


def _deployment(plan: Plan) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(plan),
        "spec": {
            "selector": {"matchLabels": _selector(plan)},
            # The autoscaler owns the number of pods. A new pod answers before an old one is taken away.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "progressDeadlineSeconds": max(_PROGRESS_S, 2 * plan.start_s),
            "template": {"metadata": {"labels": _labels(plan)}, "spec": pod(plan, "fitserve")},
        },
    }


def _service(plan: Plan) -> Manifest:
    ports = [{"name": "http", "port": 80, "targetPort": _PORT, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(plan),
        "spec": {"selector": _selector(plan), "ports": ports},
    }


def _autoscaler(plan: Plan) -> Manifest:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(plan),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
            "minReplicas": plan.least,
            "maxReplicas": plan.most,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                }
            ],
        },
    }


def _disruption_budget(plan: Plan) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(plan),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(plan)}},
    }


def _network_policy(plan: Plan) -> Manifest:
    """Its port may be reached; from the pod nothing can: a model needs no network."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(plan),
        "spec": {
            "podSelector": {"matchLabels": _selector(plan)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": _PORT, "protocol": "TCP"}]}],
            "egress": [],
        },
    }


def _kustomization(plan: Plan, resources: Sequence[str]) -> Manifest:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
        # Pods read it at their start; the hash in its name, which the Deployment then gets too, restarts them.
        "secretGenerator": [{"name": f"{plan.name}-key", "files": ["key=key.txt"], "type": "Opaque"}],
    }


def _metadata(plan: Plan) -> Manifest:
    return {"name": plan.name, "labels": _labels(plan)}


def _selector(plan: Plan) -> dict[str, str]:
    return {"app.kubernetes.io/name": "fitserve", "app.kubernetes.io/instance": plan.name}


def _labels(plan: Plan) -> dict[str, str]:
    return {**_selector(plan), "app.kubernetes.io/version": plan.version}


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    get = {"path": path, "port": _PORT}
    return {"httpGet": get, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 4}


def _own_limits(contents: Contents) -> list[ResourceConfiguration]:
    """Of the services that have processes of their own, each beside those of its model."""
    found = []
    for service in filter(services.runs_alone, contents.services):
        name, number = services.target(service)
        versions = [p.record for p in contents.models if p.record.name == name and number in (None, p.record.version)]
        latest = max(versions, key=lambda record: record.version)
        found.append(services.own_version(service, latest).resource_configuration)
    return found


def _cpu(cores: float) -> str:
    return checked("a quantity", f"{math.ceil(round(cores * 1000, 6))}m")


def _mib(mib: int) -> str:
    return checked("a quantity", f"{mib}Mi")


class _Plain(yaml.SafeDumper):
    """No anchors: what two places share is written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(plan: Plan, document: Manifest) -> str:
    head = f"# Made by `fitserve package --kubernetes` for {', '.join(plan.models)}.\n"
    return head + yaml.dump(dict(document), Dumper=_Plain, sort_keys=False, default_flow_style=False)
