"""`entrepot tag`."""

import asyncio
import json

import pytest

from tests.cli.conftest import Filled
from tests.cli.running import Terminal, entrepot
from tests.places import open_database


def test_list_shows_what_tags_point_to(filled: Filled) -> None:
    """Each tag has one line with the whole digest, the instant and the actor."""
    outcome = entrepot("tag", "list", "demo/app")
    assert outcome.status == 0
    header, line = outcome.stdout.splitlines()
    assert header.split() == ["TAG", "DIGEST", "SET", "AT", "SET", "BY"]
    assert line.split() == ["1", filled.manifests[1], "2026-01-01T00:01:00Z", "bob"]


@pytest.mark.parametrize("command", [("list", "demo/app"), ("history", "demo/app", "1")])
def test_a_digest_is_never_cut(filled: Filled, command: tuple[str, ...]) -> None:
    """In a narrow terminal the line is longer than the window, and the digest can be copied."""
    with Terminal("tag", *command, ENTREPOT_DATA=str(filled.data), COLUMNS="80") as terminal:
        assert terminal.wait() == 0
    assert filled.manifests[1] in terminal.text


def test_list_as_json(filled: Filled) -> None:
    """The document names the repository and its tags."""
    assert json.loads(entrepot("tag", "list", "demo/app", "--json").stdout) == {
        "repository": "demo/app",
        "tags": [
            {"tag": "1", "digest": filled.manifests[1], "set_at": "2026-01-01T00:01:00.000Z", "set_by": "bob"},
        ],
    }


def test_history_begins_with_the_latest(filled: Filled) -> None:
    """Each pointing has its beginning and its end; the first line's end is now."""
    outcome = entrepot("tag", "history", "demo/app", "1")
    assert outcome.status == 0
    assert [line.split() for line in outcome.stdout.splitlines()] == [
        ["DIGEST", "FROM", "TO", "SET", "BY"],
        [filled.manifests[1], "2026-01-01T00:01:00Z", "now", "bob"],
        [filled.manifests[0], "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "bob"],
    ]


def test_history_as_json_has_its_limit(filled: Filled) -> None:
    """--limit leaves the oldest out; what is still so has no end."""
    document = json.loads(entrepot("tag", "history", "demo/app", "1", "--limit", "1", "--json").stdout)
    assert document == {
        "repository": "demo/app",
        "tag": "1",
        "history": [
            {"digest": filled.manifests[1], "from": "2026-01-01T00:01:00.000Z", "to": None, "set_by": "bob"},
        ],
    }


@pytest.mark.usefixtures("filled")
def test_an_unknown_tag_has_no_history() -> None:
    """A tag that never was is told, with the command that lists those that are."""
    outcome = entrepot("tag", "history", "demo/app", "2")
    assert outcome.status == 1
    assert outcome.stderr == "entrepot: demo/app never had a tag 2: `entrepot tag list demo/app` lists those it has\n"


@pytest.mark.usefixtures("filled")
def test_an_unknown_repository_has_no_tags() -> None:
    """Every command says that the repository is not there."""
    for arguments in (["list", "demo/none"], ["history", "demo/none", "1"], ["restore", "demo/none", "1"]):
        outcome = entrepot("tag", *arguments)
        assert (outcome.status, outcome.stderr) == (1, "entrepot: there is no repository demo/none\n")


def test_history_at_an_instant(filled: Filled) -> None:
    """--at leaves what the tag pointed to then."""
    for at, digest in (("2026-01-01T00:00:30Z", filled.manifests[0]), ("1m", filled.manifests[1])):
        outcome = entrepot("tag", "history", "demo/app", "1", "--at", at)
        assert outcome.status == 0
        _, line = outcome.stdout.splitlines()
        assert line.split()[0] == digest
    outcome = entrepot("tag", "history", "demo/app", "1", "--at", "2025-12-31")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        "entrepot: 1 pointed to nothing at 2025-12-31T00:00:00Z: `entrepot tag history demo/app 1` shows what it"
        " pointed to, and when\n"
    )


def test_what_is_shown_can_be_typed_back(filled: Filled) -> None:
    """Tables cut an instant to its second, so a second given is its end; a part of it is itself."""
    shift(filled, 345)
    lines = entrepot("tag", "history", "demo/app", "1").stdout.splitlines()[1:]
    for digest, since in (line.split()[:2] for line in lines):
        _, line = entrepot("tag", "history", "demo/app", "1", "--at", since).stdout.splitlines()
        assert line.split()[:2] == [digest, since]
        assert entrepot("tag", "restore", "demo/app", "1", "--at", since).status == 0
        assert current() == digest
    for at, push in (("2026-01-01T00:01:00.344Z", 0), ("2026-01-01T00:01:00.345Z", 1), ("2026-01-01T00:01Z", 0)):
        _, line = entrepot("tag", "history", "demo/app", "1", "--at", at).stdout.splitlines()
        assert line.split()[0] == filled.manifests[push]


def test_a_moved_tag_goes_back(filled: Filled) -> None:
    """The command says where it points, and where it pointed before."""
    first, second = filled.manifests
    outcome = entrepot("tag", "restore", "demo/app", "1")
    assert (outcome.status, outcome.stdout) == (
        0,
        f"demo/app:1 points to {first} again, after it pointed to {second}\n",
    )
    assert current() == first
    outcome = entrepot("tag", "restore", "demo/app", "1", "--at", "2026-01-01T00:00:30Z")
    assert (outcome.status, outcome.stdout) == (0, f"demo/app:1 points to {first} already\n")
    outcome = entrepot("tag", "restore", "demo/app", "1", "--at", "2026-01-01T00:02:00Z")
    assert outcome.status == 0
    assert current() == second


def test_a_deleted_tag_comes_back(filled: Filled) -> None:
    """With its manifest, if that was deleted with it."""
    second = filled.manifests[1]
    entrepot("manifest", "delete", "demo/app", "1")
    outcome = entrepot("tag", "restore", "demo/app", "1")
    assert outcome.stdout == f"demo/app:1 points to {second} again, after it pointed nowhere\n"
    entrepot("manifest", "delete", "demo/app", second)
    outcome = entrepot("tag", "restore", "demo/app", "1")
    assert outcome.stdout == (
        f"demo/app:1 points to {second} again, after it pointed nowhere; 1 manifest that had been deleted came back for"
        " it\n"
    )
    assert current() == second


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["2"],
            (
                "there never was a tag 2: `entrepot tag list demo/app` lists those there are, and `entrepot tag history"
                " demo/app TAG` shows what one pointed to, also one that was deleted"
            ),
        ),
        (
            ["1", "--at", "2025-12-31"],
            "1 pointed to nothing then; `entrepot tag history demo/app 1` shows what it pointed to, and when",
        ),
    ],
)
def test_there_is_nothing_to_go_back_to(arguments: list[str], said: str) -> None:
    """A tag that never was, and an instant before it: both with the command that shows what was."""
    outcome = entrepot("tag", "restore", "demo/app", *arguments)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (1, "", f"entrepot: {said}\n")


@pytest.mark.usefixtures("filled")
def test_an_immutable_tag_stays() -> None:
    """Going back is a move: the refusal says how to let it move."""
    entrepot("repository", "set", "demo/app", "immutability=immutable")
    outcome = entrepot("tag", "restore", "demo/app", "1")
    assert outcome.status == 1
    assert "`entrepot repository set demo/app immutability=mutable`" in outcome.stderr


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", ["history", "restore"])
def test_what_is_no_instant(command: str) -> None:
    """A word that is none is wrong usage."""
    outcome = entrepot("tag", command, "demo/app", "1", "--at", "yesterday")
    assert outcome.status == 2
    assert "a duration such as 90m" in outcome.stderr


def shift(filled: Filled, milliseconds: int) -> None:
    """Move the history of all tags forward a little."""

    async def work() -> None:
        database = open_database(filled.data)
        try:
            await database.write(
                lambda tx: tx.run(
                    "UPDATE tag SET valid_from = valid_from + :by, valid_to = valid_to + :by", by=milliseconds
                )
            )
        finally:
            database.close()

    asyncio.run(work())


def current() -> str:
    """What demo/app:1 points to."""
    (tag,) = json.loads(entrepot("tag", "list", "demo/app", "--json").stdout)["tags"]
    return str(tag["digest"])
