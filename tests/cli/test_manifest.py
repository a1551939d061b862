"""`entrepot manifest`."""

import asyncio
import json

import pytest

from registry.metadata.database import Database
from tests.cli.conftest import Filled
from tests.cli.running import entrepot

ABSENT = f"sha256:{'0' * 64}"


def tags() -> list[str]:
    return [tag["tag"] for tag in json.loads(entrepot("tag", "list", "demo/app", "--json").stdout)["tags"]]


def manifests() -> int:
    return int(json.loads(entrepot("repository", "show", "demo/app", "--json").stdout)["manifests"])


@pytest.mark.usefixtures("filled")
def test_delete_a_tag() -> None:
    """Only the tag goes, and the command says so."""
    outcome = entrepot("manifest", "delete", "demo/app", "1")
    assert (outcome.status, outcome.stdout) == (0, "the tag demo/app:1 is deleted, and what it pointed to stays\n")
    assert (tags(), manifests()) == ([], 2)


def test_delete_a_manifest(filled: Filled) -> None:
    """The manifest goes with its tags."""
    digest = filled.manifests[1]
    outcome = entrepot("manifest", "delete", "demo/app", digest)
    assert (outcome.status, outcome.stdout) == (0, f"{digest} is deleted from demo/app, with its tags\n")
    assert (tags(), manifests()) == ([], 1)


def test_restore_a_manifest(filled: Filled) -> None:
    """It is there again, without its tags; once more there is nothing to do."""
    digest = filled.manifests[1]
    entrepot("manifest", "delete", "demo/app", digest)
    outcome = entrepot("manifest", "restore", "demo/app", digest)
    assert (outcome.status, outcome.stdout) == (0, f"{digest} is restored in demo/app\n")
    assert (tags(), manifests()) == ([], 2)
    outcome = entrepot("manifest", "restore", "demo/app", digest)
    assert (outcome.status, outcome.stdout) == (0, f"{digest} is in demo/app already, and whole\n")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["delete", "demo/app", "2"], 1, "there is no such manifest in this repository"),
        (["delete", "demo/none", "1"], 1, "there is no such manifest in this repository"),
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
    for words in (("manifest", "restore", "demo/app", filled.manifests[1]), ("tag", "restore", "demo/app", "1")):
        entrepot("manifest", "delete", "demo/app", filled.manifests[1])
        outcome = entrepot(*words)
        assert outcome.status == 0
        assert outcome.stderr == (
            "its lifecycle policy may expire it again: `entrepot lifecycle preview demo/app` shows that\n"
        )
    facts = entrepot("repository", "show", "demo/app").stdout
    assert "yes: entrepot lifecycle show demo/app" in facts


def add_policy(filled: Filled) -> None:
    async def work() -> None:
        database = Database(filled.data / "entrepot.db")
        try:
            await database.write(
                lambda tx: tx.run(
                    "INSERT INTO policy (repository_id, text, set_at, set_by) VALUES (1, '{\"rules\": []}', 1, 'bob')"
                )
            )
        finally:
            database.close()

    asyncio.run(work())
