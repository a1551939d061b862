"""Compares what a registry shows with a history: nothing acknowledged lost, nothing half-made, nothing else there."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable

from tests.kill.client import Client
from tests.kill.history import History, Kind, Name, State

NOTHING = 404


def find_faults(port: int, history: History) -> list[str]:
    """Every difference between the registry and the history, in words; none is right."""
    faults: list[str] = []
    with Client(port) as client:
        seen = {name: _look(client, name, faults) for name in history.names()}
        faults += history.contradictions(seen)
        there = {name for name, state in seen.items() if state}
        faults += _incomplete(client, there)
        faults += _listed_wrongly(client, history, there)
    return faults


def _look(client: Client, name: Name, faults: list[str]) -> State:
    answer = client.call("GET", name.path)
    head = client.call("HEAD", name.path)
    if head.status != answer.status:
        faults.append(f"{name}: GET {answer.status}, HEAD {head.status}")
    if answer.status == NOTHING:
        return None
    if answer.status != 200:
        faults.append(f"{name}: {answer.status} {answer.content[:200]!r}")
        return None
    announced = answer.headers["docker-content-digest"]
    algorithm = announced.partition(":")[0]
    actual = f"{algorithm}:{hashlib.new(algorithm, answer.content).hexdigest()}"
    expected = announced if name.kind is Kind.TAG else name.reference
    if not actual == announced == expected:
        faults.append(f"{name}: announced as {announced}, the bytes are {actual}")
    return actual


def _incomplete(client: Client, there: Iterable[Name]) -> list[str]:
    faults = []
    for name in there:
        if name.kind is Kind.MANIFEST:
            fields = json.loads(client.call("GET", name.path).content)
            blobs = [fields["config"], *fields["layers"]] if "layers" in fields else []
            paths = [f"blobs/{blob['digest']}" for blob in blobs]
            paths += [f"manifests/{child['digest']}" for child in fields.get("manifests", [])]
            for path in paths:
                status = client.call("HEAD", f"/v2/{name.repository}/{path}").status
                if status != 200:
                    faults.append(f"{name} is there, but {path} is {status}")
    return faults


def _listed_wrongly(client: Client, history: History, there: set[Name]) -> list[str]:
    faults = []
    known = {repository for repository, is_certain in history.repositories.items() if is_certain}
    listed = set(json.loads(client.call("GET", "/v2/_catalog?n=1000").content)["repositories"])
    if not known <= listed <= history.repositories.keys():
        faults.append(f"the catalog lists {sorted(listed)}, pushed were {sorted(known)}")
    tags = defaultdict(set)
    for name in there:
        if name.kind is Kind.TAG:
            tags[name.repository].add(name.reference)
    for repository in history.repositories:
        answer = client.call("GET", f"/v2/{repository}/tags/list?n=1000")
        shown = set(json.loads(answer.content)["tags"]) if answer.status == 200 else set()
        if shown != tags[repository]:
            faults.append(f"{repository} lists the tags {sorted(shown)}, there are {sorted(tags[repository])}")
    return faults + _referrers_wrong(client, there)


def _referrers_wrong(client: Client, there: set[Name]) -> list[str]:
    faults = []
    expected: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in there:
        if name.kind is Kind.MANIFEST:
            subject = json.loads(client.call("GET", name.path).content).get("subject")
            if subject:
                expected[name.repository, subject["digest"]].add(name.reference)
    for (repository, digest), referrers in expected.items():
        content = client.call("GET", f"/v2/{repository}/referrers/{digest}").content
        shown = {descriptor["digest"] for descriptor in json.loads(content)["manifests"]}
        if shown != referrers:
            faults.append(f"{repository} lists the referrers {shown} of {digest}, there are {referrers}")
    return faults
