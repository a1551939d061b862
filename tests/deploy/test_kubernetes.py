"""What a cluster makes of deploy/kubernetes."""

import subprocess
import sys
from typing import Any

import pytest
import yaml

from .files import KUBERNETES, VARIANTS, kustomization, manifests, only, read_project
from .settings import of_kubernetes, pods, seconds_to_end

PODS = [(variant, kind) for variant in VARIANTS for kind in pods(variant)]
SERVERS = [("replicas", "Deployment"), ("single", "StatefulSet")]


@pytest.fixture
def pod(variant: str, kind: str) -> Any:
    return pods(variant)[kind]


@pytest.mark.parametrize("variant", VARIANTS)
def test_schema(variant: str) -> None:
    """Every object is one by Kubernetes' own schemas, without a field that they do not know."""
    paths = [path for path in sorted((KUBERNETES / variant).glob("*.yaml")) if path.name != "kustomization.yaml"]
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_kustomization(variant: str) -> None:
    """It takes every file but the example of a Secret, and names the image of this version."""
    described = kustomization(variant)
    files = {path.name for path in (KUBERNETES / variant).iterdir()}
    assert set(described["resources"]) == files - {"kustomization.yaml", "secret.example.yaml"}
    (image,) = described["images"]
    assert image["newTag"] == read_project()["version"]
    assert {container["image"] for each in pods(variant).values() for container in each["containers"]} == {
        image["name"]
    }


@pytest.mark.parametrize(("variant", "kind"), PODS)
def test_pods_are_restricted(pod: Any) -> None:
    """No pod has root, capabilities, the cluster's API, or a file system that it can write to."""
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, 65532, 65532)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize(("variant", "kind"), PODS)
def test_services_do_not_set_settings(pod: Any) -> None:
    """Kubernetes does not add variables for its Services: that of `entrepot` would be ENTREPOT_PORT."""
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize(("variant", "kind"), PODS)
def test_what_is_mounted_is_there(pod: Any, variant: str) -> None:
    """Every mount has its volume, secrets have the example's keys, and what is written has a place and an end."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claimed = only(variant, "StatefulSet")["spec"]["volumeClaimTemplates"] if variant == "single" else []
    volumes |= {claim["metadata"]["name"]: claim for claim in claimed}
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == volumes.keys()
    assert {"/data", "/tmp", "/run/secrets/entrepot"} == mounts.keys()  # noqa: S108 - the container's own
    assert all("sizeLimit" in volume["emptyDir"] for volume in volumes.values() if "emptyDir" in volume)
    named = {item["key"] for item in volumes["secrets"]["secret"]["items"]}
    named |= {
        variable["valueFrom"]["secretKeyRef"]["key"] for variable in container.get("env", ()) if "valueFrom" in variable
    }
    assert named == example(variant).keys()


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_is_no_default_password(variant: str) -> None:
    """The example of the Secret holds nothing, and neither does the ConfigMap."""
    assert set(example(variant).values()) == {""}
    assert not [name for name in only(variant, "ConfigMap")["data"] if name.endswith(("PASSWORD", "DATABASE"))]


def example(variant: str) -> Any:
    return yaml.safe_load((KUBERNETES / variant / "secret.example.yaml").read_text())["stringData"]


@pytest.mark.parametrize(("variant", "kind"), SERVERS)
def test_probes(pod: Any, variant: str) -> None:
    """A pod that cannot reach its database is not restarted; it gets no requests where others can serve them."""
    (container,) = pod["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    ready = "/readyz" if variant == "replicas" else "/healthz"
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": ready}
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in paths} <= {container["ports"][0]["name"]}
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 300, "for migrations"


@pytest.mark.parametrize(("variant", "kind"), SERVERS)
def test_requests_in_flight_may_end(pod: Any, variant: str) -> None:
    """The kubelet kills a pod later than the pod itself gives up on its last requests."""
    waits = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits + seconds_to_end(of_kubernetes(variant))


@pytest.mark.parametrize(("variant", "kind"), SERVERS)
def test_memory(pod: Any, variant: str) -> None:
    """The limit is twice what uploads may take."""
    limit = pod["containers"][0]["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Gi")) << 30 >= 2 * of_kubernetes(variant).upload_memory_mib << 20


def test_upgrade() -> None:
    """A replica goes when a new one is ready, and a drained node takes one at a time."""
    spec = only("replicas", "Deployment")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert only("replicas", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_one_server_on_one_volume() -> None:
    """The embedded variant never has a second pod on its volume."""
    spec = only("single", "StatefulSet")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert [manifest["kind"] for manifest in manifests("single") if manifest["kind"] == "CronJob"] == []


@pytest.mark.parametrize(("variant", "kind"), SERVERS)
def test_selectors(variant: str, kind: str) -> None:
    """Service, budget and spreading mean the servers, and not the pods of the CronJob."""
    server = only(variant, kind)["spec"]
    labels = server["template"]["metadata"]["labels"]
    assert server["selector"]["matchLabels"] == labels
    assert only(variant, "Service")["spec"]["selector"] == labels
    assert "sessionAffinity" not in only(variant, "Service")["spec"]
    if variant == "replicas":
        assert only(variant, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
        (spread,) = server["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"] == labels
        job = only(variant, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        assert not labels.items() <= job.items()


def test_one_clock_runs_policies() -> None:
    """Either the CronJob runs lifecycle policies or the server does."""
    assert of_kubernetes("replicas").lifecycle_hours == 0
    assert pods("replicas")["CronJob"]["containers"][0]["args"] == ["lifecycle", "run"]
    assert only("replicas", "CronJob")["spec"]["concurrencyPolicy"] == "Forbid"
    assert of_kubernetes("single").lifecycle_hours > 0


def test_ingress() -> None:
    """It leads to what clients use, not to the metrics, and does not limit or hold back bodies."""
    ingress = only("replicas", "Ingress")
    options = {name.partition("/")[2]: value for name, value in ingress["metadata"]["annotations"].items()}
    assert options["proxy-body-size"] == "0"
    assert options["proxy-request-buffering"] == options["proxy-buffering"] == "off"
    (rule,) = ingress["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v2", "/token", "/.well-known"]
    assert of_kubernetes("replicas").public_url == f"https://{rule['host']}"
