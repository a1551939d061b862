"""The registry's settings as the files in deploy/ give them."""

from collections.abc import Mapping
from typing import Any

from registry.app import _MOST_LINGER_SECONDS
from registry.config import PREFIX, Config
from registry.sources import load

from .files import compose, manifests, only

DATABASE = "postgresql://entrepot:password@db.example.com/entrepot"


def read(environment: Mapping[str, str]) -> Config:
    """What a server with that environment would go by. Raises ConfigInvalid."""
    assert all(isinstance(value, str) for value in environment.values()), "YAML made something else of it"
    return load(environment={name: value for name, value in environment.items() if name.startswith(PREFIX)})[0]


def seconds_to_end(config: Config) -> int:
    """At most, from SIGTERM to the last answer: first others learn that a replica ends, then its requests do."""
    return config.drain_seconds + _MOST_LINGER_SECONDS


def of_compose() -> Config:
    environment = dict(compose()["x-registry"]["environment"])
    environment["ENTREPOT_PUBLIC_URL"] = environment["ENTREPOT_PUBLIC_URL"].partition(":-")[2].removesuffix("}")
    return read(environment)


def of_kubernetes(variant: str) -> Config:
    environment = dict(only(variant, "ConfigMap")["data"])
    named = {variable["name"] for pod in pods(variant).values() for variable in pod["containers"][0].get("env", ())}
    return read(environment | ({"ENTREPOT_DATABASE": DATABASE} if "ENTREPOT_DATABASE" in named else {}))


def pods(variant: str) -> dict[str, Any]:
    """The pods' descriptions, by the kind of what makes them."""
    found: dict[str, Any] = {}
    for manifest in manifests(variant):
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            found[manifest["kind"]] = manifest["spec"]["template"]["spec"]
        elif manifest["kind"] == "CronJob":
            found["CronJob"] = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found
