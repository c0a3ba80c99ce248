"""Manifests: valid by Kubernetes' own schemas, the same bytes each time, and numbers that fit the gateway's."""

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.package import manifests
from gateway.package.contents import Contents, collect
from gateway.package.errors import UnsafeValue
from gateway.package.manifests import Plan
from gateway.rundir.version_log import LARGEST
from gateway.settings import Settings
from registry import Workspace, services

RELEASES = ("1.29", "1.33")
IMAGE = "registry.example.com/team/iris:1.0"


@pytest.fixture
def plan(contents: Contents) -> Plan:
    return Plan.of(contents, image=IMAGE)


def written(plan: Plan) -> dict[str, Any]:
    return {name: yaml.safe_load(text) for name, text in manifests.files(plan).items() if name.endswith(".yaml")}


def container(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = written(plan)["deployment.yaml"]["spec"]["template"]["spec"]["containers"][0]
    return found


def mib(quantity: str) -> int:
    return int(quantity.removesuffix("Mi"))


@pytest.mark.parametrize("release", RELEASES)
def test_plain_manifests_fit_the_schemas(plan: Plan, release: str) -> None:
    found = written(plan)
    for name, document in found.items():
        if name.startswith("kserve/") or name == "kustomization.yaml":
            continue
        kubernetes_validate.validate(document, release, strict=True)
    assert set(found["kustomization.yaml"]["resources"]) == {
        name for name in found if "/" not in name and name != "kustomization.yaml"
    }
    assert len(found["kustomization.yaml"]["resources"]) == 5


def test_the_schemas_see_what_is_wrong(plan: Plan) -> None:
    document = written(plan)["deployment.yaml"]
    document["spec"]["template"]["spec"]["containers"][0]["readinessProbes"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, RELEASES[1], strict=True)


@pytest.mark.parametrize("release", RELEASES)
def test_kserves_form_holds_a_pod_that_fits_the_schemas(plan: Plan, release: str) -> None:
    service = written(plan)["kserve/inferenceservice.yaml"]
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = dict(service["spec"]["predictor"])
    assert (predictor.pop("minReplicas"), predictor.pop("maxReplicas")) == (2, 6)
    assert [each["name"] for each in predictor["containers"]] == ["kserve-container"]
    # Knative would refuse terminationGracePeriodSeconds and lifecycle.
    assert service["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "RawDeployment"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": service["metadata"], "spec": predictor}
    kubernetes_validate.validate(pod, release, strict=True)


def test_the_secret_is_made_from_a_file_of_the_operator(plan: Plan) -> None:
    found = written(plan)
    generated = found["kustomization.yaml"]["secretGenerator"][0]
    volumes = found["deployment.yaml"]["spec"]["template"]["spec"]["volumes"]
    assert generated == {"name": "iris-key", "files": ["key=key.txt"], "type": "Opaque"}
    assert [v["secret"]["secretName"] for v in volumes if "secret" in v] == ["iris-key"]
    key_file = next(e["value"] for e in container(plan)["env"] if e["name"] == "FITSERVE_KEY_FILE")
    mounted = next(m["mountPath"] for m in container(plan)["volumeMounts"] if m["name"] == "key")
    assert key_file == f"{mounted}/key"
    assert manifests.files(plan)[".gitignore"].split() == ["key.txt"]


def test_the_same_plan_gives_the_same_text(contents: Contents, plan: Plan) -> None:
    assert manifests.files(plan) == manifests.files(Plan.of(contents, image=IMAGE))
    assert all("&id" not in text for text in manifests.files(plan).values())


def test_memory_is_what_the_models_and_the_gateway_need(workspace: Workspace) -> None:
    for names in (["iris"], ["iris", "diabetes"], ["iris:1", "iris:2", "custom", "diabetes"]):
        found = collect(workspace, names)
        plan = Plan.of(found, image=IMAGE)
        resources = container(plan)["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        limit = mib(resources["limits"]["memory"]) * 2**20
        reserve = float(next(e["value"] for e in container(plan)["env"] if e["name"] == "FITSERVE_RESERVE_GB"))
        promised = sum(p.record.resource_configuration.memory_bytes for p in found.models)
        assert 0 <= limit - reserve * 2**30 - promised < len(names) * 2**20
        cores = sum(p.record.resource_configuration.cores for p in found.models)
        assert int(resources["requests"]["cpu"].removesuffix("m")) == pytest.approx(1000 * cores + 100, abs=1)


def test_an_environment_that_is_not_the_gateways_own_has_a_nursery_beside_it(contents: Contents) -> None:
    (packaged,) = contents.models
    other = replace(packaged, environment=replace(packaged.environment, own=False))
    own, alone = (Plan.of(replace(contents, models=(each,)), image=IMAGE) for each in (packaged, other))
    assert alone.memory_mib - own.memory_mib == manifests.ENVIRONMENT_MIB
    assert alone.reserve_gb > own.reserve_gb


def test_limits_of_a_services_own_are_added_to_those_of_its_model(workspace: Workspace) -> None:
    shared = Plan.of(collect(workspace, ["iris:1"]), image=IMAGE)
    services.deploy(workspace, "mine", ["iris:1"], settings=services.own_resources(0.5, 2))
    plan = Plan.of(collect(workspace, services=["mine"]), image=IMAGE)
    assert plan.memory_mib - shared.memory_mib == 2048
    assert plan.cpu[1] - shared.cpu[1] == pytest.approx(0.5)


def test_pods_end_after_the_gateway_has_drained(plan: Plan) -> None:
    pod = written(plan)["deployment.yaml"]["spec"]["template"]["spec"]
    drain = float(next(e["value"] for e in container(plan)["env"] if e["name"] == "FITSERVE_DRAIN_S"))
    before = int(container(plan)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= before + drain + 5
    probe = container(plan)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= Settings().start_timeout_s


def test_a_pod_that_may_still_load_is_not_called_stuck(workspace: Workspace) -> None:
    few = Plan.of(collect(workspace, ["iris"]), image=IMAGE)
    assert written(few)["deployment.yaml"]["spec"]["progressDeadlineSeconds"] == 600
    many = replace(few, start_s=3600)
    assert written(many)["deployment.yaml"]["spec"]["progressDeadlineSeconds"] > 3600


def test_full_logs_of_all_models_fit_into_the_workspace(workspace: Workspace) -> None:
    one, three = (
        Plan.of(collect(workspace, names), image=IMAGE) for names in (["iris"], ["iris", "diabetes", "custom"])
    )
    assert three.disk_mib - one.disk_mib >= 2 * 2 * LARGEST / 2**20


def test_the_pod_may_do_no_more_than_it_needs(plan: Plan) -> None:
    pod = written(plan)["deployment.yaml"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container(plan)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    policy = written(plan)["networkpolicy.yaml"]["spec"]
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], [])


@pytest.mark.parametrize(
    ("name", "becomes"),
    [("iris", "iris"), ("My_Model.v2", "my-model-v2"), ("7days", "m-7days"), ("a__", "a"), ("Ünknown", "nknown")],
)
def test_names_become_names_of_kubernetes(name: str, becomes: str) -> None:
    assert manifests.kubernetes_name(name) == becomes


@pytest.mark.parametrize(
    "image",
    ["flowers", "flowers:1", "registry.example.com:5000/team/flowers:1@sha256:" + "0" * 64, "localhost:1/flowers"],
)
def test_all_is_called_as_the_image_is(contents: Contents, image: str) -> None:
    plan = Plan.of(contents, image=image)
    assert {each["metadata"]["name"] for each in written(plan).values() if "metadata" in each} == {"flowers"}
    assert container(plan)["image"] == image


def test_nothing_unchecked_reaches_a_manifest(contents: Contents) -> None:
    packaged = contents.models[0]
    for name in ("iris\nkind: Secret", 'x"'):
        evil = replace(contents, models=(replace(packaged, record=replace(packaged.record, name=name)),))
        with pytest.raises(UnsafeValue):
            Plan.of(evil, image=IMAGE)
    for image in ("x\nevil: true", "x ", "x: y", "&a", f"team/{'x' * 60}:1"):
        with pytest.raises(UnsafeValue):
            Plan.of(contents, image=image)
