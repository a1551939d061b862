"""`entrepot manifest`."""

import asyncio
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.metadata.database import Value
from registry.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, OCI_MANIFEST
from tests.cli.aged import LAYER_BYTES, Aged, fill_aged
from tests.cli.conftest import Filled
from tests.cli.content import CONFIG, LAYER
from tests.cli.running import entrepot
from tests.places import open_database

ABSENT = f"sha256:{'0' * 64}"
NO_TAG = "no tag points to it: `entrepot tag restore demo/app TAG` brings one back\n"


def tags() -> list[str]:
    return [tag["tag"] for tag in json.loads(entrepot("tag", "list", "demo/app", "--json").stdout)["tags"]]


def manifests() -> int:
    return int(json.loads(entrepot("repository", "show", "demo/app", "--json").stdout)["manifests"])


def listed(*flags: str, name: str = "demo/app") -> list[dict[str, Any]]:
    document = json.loads(entrepot("manifest", "list", name, *flags, "--json").stdout)
    assert document["repository"] == name
    found: list[dict[str, Any]] = document["manifests"]
    return found


def test_list_shows_each_manifest(filled: Filled) -> None:
    """One line each, the last pushed first, with the whole digest, its tags and the size of its blobs."""
    outcome = entrepot("manifest", "list", "demo/app")
    assert outcome.status == 0
    assert [re.split(" {2,}", line.strip()) for line in outcome.stdout.splitlines()] == [
        ["DIGEST", "TAGS", "KIND", "SIZE", "PUSHED AT", "PUSHED BY"],
        [filled.manifests[1], "1", "image", "4.9 KiB", "2026-01-01T00:01:00Z", "bob"],
        [filled.manifests[0], "-", "image", "4.9 KiB", "2026-01-01T00:00:00Z", "bob"],
    ]


def test_list_as_json(filled: Filled) -> None:
    """The document has sizes in bytes, tags as a list, and the media type in full."""
    assert listed()[0] == {
        "digest": filled.manifests[1],
        "tags": ["1"],
        "kind": "image",
        "media_type": "application/vnd.oci.image.manifest.v1+json",
        "artifact_type": "application/vnd.oci.image.config.v1+json",
        "blob_bytes": len(CONFIG) + len(LAYER),
        "pushed_at": "2026-01-01T00:01:00.000Z",
        "pushed_by": "bob",
    }


def test_list_the_untagged(filled: Filled) -> None:
    """Only those to which no tag points; none of them is deleted."""
    assert [each["digest"] for each in listed("--untagged")] == [filled.manifests[0]]
    entrepot("manifest", "delete", "demo/app", filled.manifests[0])
    assert listed("--untagged") == []


def test_list_the_deleted(filled: Filled) -> None:
    """With until when each can come back, by the repository's window; what came back is there no more."""
    entrepot("repository", "set", "demo/app", "undelete_days=2")
    assert listed("--deleted") == []
    outcome = entrepot("manifest", "delete", "demo/app", filled.manifests[1])
    (entry,) = listed("--deleted")
    assert (entry["digest"], entry["tags"]) == (filled.manifests[1], [])
    deleted_at, until = (datetime.fromisoformat(entry[name]) for name in ("deleted_at", "restorable_until"))
    assert until - deleted_at == timedelta(days=2)
    shown = f"{until:%Y-%m-%dT%H:%M:%SZ}"
    assert outcome.stderr.startswith(f"until {shown} `entrepot manifest restore demo/app {filled.manifests[1]}` brings")
    header, line = entrepot("manifest", "list", "demo/app", "--deleted").stdout.splitlines()
    assert header.endswith("RESTORABLE UNTIL")
    assert line.split()[-1] == shown
    entrepot("manifest", "restore", "demo/app", filled.manifests[1])
    assert listed("--deleted") == []


def test_list_tells_the_kinds(data: Path) -> None:
    """An index has no blobs of its own, and its images no tags."""
    digests = fill_aged(data, [Aged("amd64", 3), Aged("both", 2, ["b", "a"], ["amd64"])])
    found = {each["digest"]: each for each in listed(name="acme/app")}
    index, image = found[digests["both"]], found[digests["amd64"]]
    assert (index["kind"], index["tags"], index["blob_bytes"]) == ("index", ["a", "b"], 0)
    assert (image["kind"], image["tags"], image["blob_bytes"]) == ("image", [], len(b"{}") + LAYER_BYTES)
    assert " a,b " in entrepot("manifest", "list", "acme/app").stdout


@pytest.mark.parametrize(
    ("media_type", "artifact_type", "kind"),
    [
        (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json", "image"),
        (OCI_MANIFEST, "application/vnd.cncf.helm.config.v1+json", "artifact"),
        (OCI_ARTIFACT, None, "artifact"),
        (DOCKER_LIST, None, "index"),
        ("application/vnd.acme+json", None, "application/vnd.acme+json"),
    ],
)
def test_a_kind_is_told_by_the_types(filled: Filled, media_type: str, artifact_type: str | None, kind: str) -> None:
    """An image has an image's config; any other is an artifact, and what is unknown is shown as its media type."""
    write(
        filled,
        "UPDATE manifest SET media_type = :type, artifact_type = :artifact",
        type=media_type,
        artifact=artifact_type,
    )
    assert {each["kind"] for each in listed()} == {kind}
    assert entrepot("manifest", "list", "demo/app").stdout.splitlines()[1].split()[2] == kind


@pytest.mark.usefixtures("filled")
def test_delete_a_tag() -> None:
    """Only the tag goes, and the command says so, with the one that brings it back."""
    outcome = entrepot("manifest", "delete", "demo/app", "1")
    assert (outcome.status, outcome.stdout) == (0, "the tag demo/app:1 is deleted, and what it pointed to stays\n")
    assert outcome.stderr == "`entrepot tag restore demo/app 1` brings it back, as long as that stays\n"
    assert (tags(), manifests()) == ([], 2)


def test_delete_a_manifest(filled: Filled) -> None:
    """The manifest goes with its tags."""
    digest = filled.manifests[1]
    outcome = entrepot("manifest", "delete", "demo/app", digest)
    assert (outcome.status, outcome.stdout) == (0, f"{digest} is deleted from demo/app, with its tags\n")
    assert (tags(), manifests()) == ([], 1)


def test_what_cannot_come_back_gets_no_hint(filled: Filled) -> None:
    """Where the undelete window is empty, nothing is promised."""
    entrepot("repository", "set", "demo/app", "undelete_days=0")
    outcome = entrepot("manifest", "delete", "demo/app", filled.manifests[1])
    assert (outcome.status, outcome.stderr) == (0, "")


def test_restore_a_manifest(filled: Filled) -> None:
    """It is there again, without its tags, which is told; once more there is nothing to do."""
    digest = filled.manifests[1]
    entrepot("manifest", "delete", "demo/app", digest)
    outcome = entrepot("manifest", "restore", "demo/app", digest)
    assert (outcome.status, outcome.stdout) == (0, f"{digest} is restored in demo/app\n")
    assert outcome.stderr == NO_TAG
    assert (tags(), manifests()) == ([], 2)
    outcome = entrepot("manifest", "restore", "demo/app", digest)
    assert (outcome.status, outcome.stdout) == (0, f"{digest} is in demo/app already, and whole\n")
    assert outcome.stderr == ""


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["delete", "demo/app", "2"], 1, "there is no such manifest in this repository"),
        (["delete", "demo/none", "1"], 1, "there is no repository demo/none"),
        (["delete", "demo/none", ABSENT], 1, "there is no repository demo/none"),
        (["list", "demo/none"], 1, "there is no repository demo/none"),
        (["delete", "demo/app", ABSENT], 1, "there is no such manifest in this repository"),
        (["restore", "demo/app", ABSENT], 1, f"demo/app never had {ABSENT}, or it is gone for good"),
        (["restore", "demo/none", ABSENT], 1, "there is no repository demo/none"),
        (["restore", "demo/app", "1"], 2, "a digest is sha256:"),
        (["delete", "demo/app", "sha256:1"], 2, "a digest is sha256:"),
        (["delete", "demo/app", "-1"], 2, "No such option"),
    ],
)
def test_what_is_not_there(arguments: list[str], status: int, said: str) -> None:
    """What is unknown is 1, what is no name at all 2; nothing changes."""
    outcome = entrepot("manifest", *arguments)
    assert (outcome.status, outcome.stdout) == (status, "")
    assert said in outcome.stderr
    assert (tags(), manifests()) == (["1"], 2)


def test_it_says_that_a_policy_may_take_it(filled: Filled) -> None:
    """Where a lifecycle policy is stored, what comes back may be what it removed."""
    add_policy(filled)
    for words, first in (
        (("manifest", "restore", "demo/app", filled.manifests[1]), NO_TAG),
        (("tag", "restore", "demo/app", "1"), ""),
    ):
        entrepot("manifest", "delete", "demo/app", filled.manifests[1])
        outcome = entrepot(*words)
        assert outcome.status == 0
        assert outcome.stderr == first + (
            "its lifecycle policy may expire it again: `entrepot lifecycle preview demo/app` shows that\n"
        )
    facts = entrepot("repository", "show", "demo/app").stdout
    assert "yes: entrepot lifecycle show demo/app" in facts


def add_policy(filled: Filled) -> None:
    write(filled, "INSERT INTO policy (repository_id, text, set_at, set_by) VALUES (1, '{\"rules\": []}', 1, 'bob')")


def write(filled: Filled, sql: str, **parameters: Value) -> None:
    async def work() -> None:
        database = open_database(filled.data)
        try:
            await database.write(lambda tx: tx.run(sql, **parameters))
        finally:
            database.close()

    asyncio.run(work())
