"""What docker compose makes of deploy/compose.yaml."""

import fnmatch
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from .files import DEPLOY, compose
from .nginx import parse
from .settings import of_compose, seconds_to_end

REPLICAS = ("registry-1", "registry-2", "registry-3")


@pytest.fixture(scope="module")
def services() -> Any:
    return compose()["services"]


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


def test_schema() -> None:
    """They are compose files, by the specification's own schema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    files = [DEPLOY / "compose.yaml", DEPLOY / "compose.tls.yaml"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_replicas_are_alike(services: Any) -> None:
    """The replicas are one description; the first of them also says how the image is built."""
    first = {name: value for name, value in services["registry-1"].items() if name != "build"}
    assert [services[name] for name in REPLICAS[1:]] == [first, first]
    assert sorted(name for name in services if name.startswith("registry")) == sorted(REPLICAS)


def test_replicas_are_hardened(services: Any) -> None:
    """A replica cannot write to its image, has no capabilities, and never gets any; nor has the proxy."""
    for name in (*REPLICAS, "nginx"):
        service = services[name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_proxy_is_reached(services: Any) -> None:
    """One port is published, by default on this machine alone; database and store have a network without a way out."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"nginx": ["${LISTEN:-127.0.0.1:5000}:5000"]}
    behind = {name for name, service in services.items() if service["networks"] == ["behind"]}
    assert behind == {"database", "s3", "bucket"}
    assert compose()["networks"]["behind"] == {"internal": True}


def test_order_and_health(services: Any) -> None:
    """Everything that stays has a health check, and nothing starts before what it needs is healthy."""
    for name, service in services.items():
        assert ("healthcheck" in service) == (name != "bucket"), name
        for needed, how in service.get("depends_on", {}).items():
            done = "service_completed_successfully" if needed == "bucket" else "service_healthy"
            assert how == {"condition": done}
    assert "/readyz" in services["registry-1"]["healthcheck"]["test"][-1]


def test_requests_in_flight_may_end(services: Any) -> None:
    """Docker kills a replica later than the replica itself gives up on its last requests."""
    assert seconds(services["registry-1"]["stop_grace_period"]) > seconds_to_end(of_compose())


def test_secrets(services: Any) -> None:
    """Secrets are files, each is used, and no password stands in the file."""
    declared = compose()["secrets"]
    used = {secret for service in services.values() for secret in service.get("secrets", ())}
    assert used == declared.keys()
    assert declared == {name: {"file": f"./secrets/{name}"} for name in declared}
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|KEY", name) or value.startswith("/run/secrets/"), name


def test_volumes(services: Any) -> None:
    """What must stay is in named volumes; every image has a version."""
    mounted = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert {name for name in mounted if not name.startswith(".")} == compose()["volumes"].keys()
    assert all(re.fullmatch(r"[a-z/]+:[\w.]+", service["image"]) for service in services.values())
    assert not [name for name, service in services.items() if service["image"].endswith(":latest")]


def test_tls() -> None:
    """With a certificate the proxy listens on one more port, with the files that its configuration names."""
    beside = yaml.safe_load((DEPLOY / "compose.tls.yaml").read_text())
    nginx = beside["services"]["nginx"]
    directives = {line.name: line.arguments for line in parse((DEPLOY / "nginx-tls.conf").read_text()).block}
    assert nginx["ports"] == [f"${{LISTEN_TLS:-443}}:{directives['listen'][0]}"]
    mounted = {f"/run/secrets/{name}" for name in nginx["secrets"]}
    assert {*directives["ssl_certificate"], *directives["ssl_certificate_key"]} == mounted
    assert {Path(secret["file"]).name for secret in beside["secrets"].values()} == {"tls.crt", "tls.key"}
    (where,) = nginx["volumes"]
    included = parse((DEPLOY / "nginx.conf").read_text()).one("http").one("server").one("include").arguments[0]
    assert fnmatch.fnmatch(where.split(":")[1], included)
