"""`entrepot repository`."""

import asyncio
import json
import os
import pwd
import re
from datetime import datetime, timedelta

import pytest

from tests.cli.conftest import Filled
from tests.cli.content import CONFIG, LAYER
from tests.cli.running import Terminal, entrepot, program
from tests.places import only_on, open_database

BYTES = len(CONFIG) + len(LAYER)


@pytest.mark.usefixtures("filled")
def test_list_shows_what_each_holds() -> None:
    """The table has one line for each repository, in byte order, with counts and a size in words."""
    outcome = entrepot("repository", "list")
    assert outcome.status == 0
    assert [line.split() for line in outcome.stdout.splitlines()] == [
        ["REPOSITORY", "TAGS", "MANIFESTS", "BLOBS", "SIZE"],
        ["demo/app", "1", "2", "2", "4.9", "KiB"],
        ["demo/base", "1", "1", "2", "4.9", "KiB"],
    ]


@pytest.mark.usefixtures("filled")
def test_list_as_json_counts_bytes() -> None:
    """The document has sizes in bytes and instants in UTC."""
    document = json.loads(entrepot("repository", "list", "--json").stdout)
    assert [each["name"] for each in document["repositories"]] == ["demo/app", "demo/base"]
    assert document["repositories"][0] == {
        "name": "demo/app",
        "tags": 1,
        "manifests": 2,
        "blobs": 2,
        "blob_bytes": BYTES,
        "created_at": "2026-01-01T00:00:00.000Z",
        "created_by": "bob",
        "cause": "push",
        "has_policy": False,
        "settings": {},
    }


@pytest.mark.usefixtures("filled")
def test_show_tells_one() -> None:
    """One repository is shown as a list of facts."""
    outcome = entrepot("repository", "show", "demo/app")
    assert outcome.status == 0
    facts = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines())
    assert facts["manifests"].strip() == "2"
    assert "2026-01-01T00:00:00Z" in outcome.stdout
    assert "bob (push)" in outcome.stdout


@pytest.mark.usefixtures("filled")
def test_show_as_json_is_the_entry_of_the_list() -> None:
    """Both commands describe a repository in the same words."""
    shown = json.loads(entrepot("repository", "show", "demo/app", "--json").stdout)
    listed = json.loads(entrepot("repository", "list", "--json").stdout)
    assert shown == listed["repositories"][0]


@pytest.mark.usefixtures("filled")
def test_an_unknown_repository_is_told() -> None:
    """A name without a repository ends with 1 and one line."""
    for verb, *more in (["show"], ["delete"], ["set", "undelete_days=3"]):
        outcome = entrepot("repository", verb, "demo/none", *more)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert outcome.stderr == "entrepot: there is no repository demo/none\n"


@pytest.mark.usefixtures("filled")
def test_delete_hides_the_repository() -> None:
    """With --yes it is gone at once, and the others stay."""
    outcome = entrepot("repository", "delete", "demo/app", "--yes")
    assert (outcome.status, outcome.stdout) == (0, "demo/app is deleted\n")
    assert names() == ["demo/base"]


def test_delete_wants_to_be_confirmed(filled: Filled) -> None:
    """Without a terminal and without --yes nothing is deleted."""
    outcome = program("repository", "delete", "demo/app", ENTREPOT_DATA=str(filled.data))
    assert outcome.status == 1
    assert outcome.stderr == "entrepot: nobody is here to confirm that demo/app shall be deleted: say --yes\n"
    assert names() == ["demo/app", "demo/base"]


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, ["demo/base"]), ("n", 1, ["demo/app", "demo/base"])])
def test_delete_asks_at_a_terminal(filled: Filled, answer: str, status: int, left: list[str]) -> None:
    """The question says what would be lost, and only yes means yes."""
    with Terminal("repository", "delete", "demo/app", ENTREPOT_DATA=str(filled.data)) as terminal:
        terminal.expect("Delete demo/app with 1 tag, 2 manifests and 4.9 KiB of blobs? [y/N]")
        terminal.answer(answer)
        assert terminal.wait() == status
    assert names() == left


def test_one_interrupt_aborts_the_question(filled: Filled) -> None:
    """Ctrl+C at the question ends the command with status 1 and plain text, and nothing is deleted."""
    with Terminal("repository", "delete", "demo/app", ENTREPOT_DATA=str(filled.data)) as terminal:
        terminal.expect("[y/N]: ")
        terminal.interrupt()
        assert terminal.wait() == 1
    assert terminal.text.partition("[y/N]: ")[2] == "\nentrepot: aborted, nothing is deleted\n"
    assert names() == ["demo/app", "demo/base"]


def test_a_delete_belongs_to_the_user_who_ran_it(filled: Filled) -> None:
    """The change log has the actor cli:USER."""
    entrepot("repository", "delete", "demo/app", "--yes")
    assert changes(filled)[-1] == (f"cli:{user()}", "repository.delete", "demo/app")


@only_on("sqlite", "its file has an owner, and a folder")
@pytest.mark.usefixtures("filled")
def test_another_user_may_read_but_not_delete() -> None:
    """Whoever does not own the database is told as whom to run the command, and nothing changes."""
    stranger = os.geteuid() + 1
    assert entrepot("repository", "list", uid=stranger).status == 0
    outcome = entrepot("repository", "delete", "demo/app", "--yes", uid=stranger)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert f"belongs to the system user {user()}" in outcome.stderr
    assert outcome.stderr.endswith(f": sudo -u {user()} -E entrepot repository delete demo/app --yes\n")
    assert names() == ["demo/app", "demo/base"]


@pytest.mark.usefixtures("filled")
def test_show_tells_the_settings() -> None:
    """Those of the repository, and where the registry's own hold."""
    assert entrepot("repository", "set", "demo/app", "protect=v*,stable", "undelete_days=30").status == 0
    facts = dict(
        re.split(" {2,}", line.strip()) for line in entrepot("repository", "show", "demo/app").stdout.splitlines()
    )
    assert facts["immutability"] == "mutable"
    assert facts["protect"] == "v*,stable"
    assert facts["undelete_days"] == "30"
    assert facts["brake_percent"] == "50 (the registry's)"
    assert facts["lifecycle policy"] == "no"
    assert "exclude" not in facts
    document = json.loads(entrepot("repository", "show", "demo/app", "--json").stdout)
    assert document["settings"] == {"protect": "v*,stable", "undelete_days": "30"}


@pytest.mark.usefixtures("filled")
def test_set_says_what_is_set() -> None:
    """Others stay as they are, an empty value unsets, and nothing set is said in words."""
    for values, said in (
        (["immutability=immutable"], "demo/app has immutability=immutable\n"),
        (["protect=v*"], "demo/app has immutability=immutable protect=v*\n"),
        (["immutability=", "brake_percent=10"], "demo/app has protect=v* brake_percent=10\n"),
        (["protect=", "brake_percent="], "demo/app has the settings of the registry\n"),
    ):
        outcome = entrepot("repository", "set", "demo/app", *values)
        assert (outcome.status, outcome.stdout) == (0, said)


@pytest.mark.usefixtures("filled")
def test_set_counts_what_is_protected() -> None:
    """Patterns that match no tag are noticed; where nothing is protected, nothing is counted."""
    for values, said in (
        (["protect=1,2*"], "tags that it protects now: 1 of 1\n"),
        (["protect=v*"], "tags that it protects now: 0 of 1\n"),
        (["undelete_days=3"], ""),
        (["protect="], ""),
    ):
        assert entrepot("repository", "set", "demo/app", *values).stderr == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("immutability", "it is KEY=VALUE, with a key of immutability, exclude"),
        ("color=red", "with a key of immutability, exclude"),
        ("immutability=never", "immutability must be one of mutable, immutable"),
        ("immutability=immutable_with_exclusion", "exclude=PATTERNS goes with"),
        ("exclude=v*", "exclude=PATTERNS goes with"),
        ("imutability=immutable", "did you mean immutability?"),
        ("undeleted_days=3", "did you mean undelete_days?"),
        ("protect=v*,release/*", "protect has '/' in the pattern 'release/*', and no tag can"),
        ("exclude=v[0-9]", "exclude has '[' in the pattern 'v[0-9]', and no tag can"),
        ("protect=a b", "protect has ' ' in the pattern 'a b', and no tag can"),
        ("protect=*a*b*c*d*e*", "protect must be patterns"),
        ("undelete_days=soon", "undelete_days must be a number from 0"),
        ("undelete_days=-1", "undelete_days must be a number from 0"),
        ("brake_percent=101", "brake_percent must be a number from 1 to 100"),
    ],
)
@pytest.mark.usefixtures("filled")
def test_what_is_no_setting(value: str, said: str) -> None:
    """It is wrong usage, says what it must be, and nothing is set."""
    outcome = entrepot("repository", "set", "demo/app", "undelete_days=3", value)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert said in re.sub(r"[│\s]+", " ", outcome.stderr)
    assert json.loads(entrepot("repository", "show", "demo/app", "--json").stdout)["settings"] == {}


@pytest.mark.usefixtures("filled")
def test_create_makes_an_empty_one() -> None:
    """It is there with nothing in it; a name that is taken is refused."""
    outcome = entrepot("repository", "create", "demo/new")
    assert (outcome.status, outcome.stdout) == (0, "demo/new is made\n")
    assert names() == ["demo/app", "demo/base", "demo/new"]
    assert json.loads(entrepot("repository", "show", "demo/new", "--json").stdout)["cause"] == "explicit"
    outcome = entrepot("repository", "create", "demo/new")
    assert (outcome.status, outcome.stderr) == (1, "entrepot: there is a repository demo/new already\n")


def test_a_deleted_one_comes_back(filled: Filled) -> None:
    """The list says until when it can; restored, it has what it had, and is in the list no more."""
    entrepot("repository", "set", "demo/app", "undelete_days=2")
    before = entrepot("repository", "show", "demo/app").stdout
    entrepot("repository", "delete", "demo/app", "--yes")
    header, line = entrepot("repository", "list", "--deleted").stdout.splitlines()
    assert re.split(" {2,}", header.strip()) == ["REPOSITORY", "DELETED AT", "RESTORABLE UNTIL"]
    name, deleted_at, until = line.split()
    assert name == "demo/app"
    assert datetime.fromisoformat(until) - datetime.fromisoformat(deleted_at) == timedelta(days=2)
    outcome = entrepot("repository", "restore", "demo/app")
    assert (outcome.status, outcome.stdout) == (0, "demo/app is restored, with 1 tag\n")
    assert entrepot("repository", "show", "demo/app").stdout == before
    assert filled.manifests[1] in entrepot("tag", "list", "demo/app").stdout
    assert json.loads(entrepot("repository", "list", "--deleted", "--json").stdout) == {"repositories": []}
    assert changes(filled)[-1] == (f"cli:{user()}", "repository.restore", "demo/app")


@pytest.mark.usefixtures("filled")
def test_delete_says_until_when_it_can_come_back() -> None:
    """As the list of the deleted says; nothing where nothing can: no window, or nothing in it."""
    outcome = entrepot("repository", "delete", "demo/app", "--yes")
    until = entrepot("repository", "list", "--deleted").stdout.split()[-1]
    assert outcome.stderr == f"until {until} `entrepot repository restore demo/app` brings it back\n"
    entrepot("repository", "set", "demo/base", "undelete_days=0")
    entrepot("repository", "create", "demo/empty")
    for name in ("demo/base", "demo/empty"):
        outcome = entrepot("repository", "delete", name, "--yes")
        assert (outcome.status, outcome.stderr) == (0, "")


@pytest.mark.usefixtures("filled")
def test_deleted_ones_as_json() -> None:
    """One entry for each name, the last that was deleted, with its instants."""
    for _ in range(2):
        entrepot("repository", "delete", "demo/base", "--yes")
        entrepot("repository", "create", "demo/base")
    (entry,) = json.loads(entrepot("repository", "list", "--deleted", "--json").stdout)["repositories"]
    assert set(entry) == {"name", "deleted_at", "restorable_until"}
    window = datetime.fromisoformat(entry["restorable_until"]) - datetime.fromisoformat(entry["deleted_at"])
    assert (entry["name"], window) == ("demo/base", timedelta(days=7))


@pytest.mark.usefixtures("filled")
def test_what_cannot_come_back() -> None:
    """A name that is taken, and one that nobody deleted."""
    for name, said in (
        ("demo/app", "there is a repository demo/app already"),
        ("demo/none", "there is no deleted repository demo/none, or nothing of it is left"),
    ):
        outcome = entrepot("repository", "restore", name)
        assert (outcome.status, outcome.stdout, outcome.stderr) == (1, "", f"entrepot: {said}\n")


def names() -> list[str]:
    document = json.loads(entrepot("repository", "list", "--json").stdout)
    return [each["name"] for each in document["repositories"]]


def user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def changes(filled: Filled) -> list[tuple[str, str, str]]:
    async def read() -> list[tuple[str, str, str]]:
        database = open_database(filled.data)
        try:
            rows = await database.read(
                lambda tx: tx.run("SELECT actor, action, repository FROM change ORDER BY sequence")
            )
        finally:
            database.close()
        return [(row[0], row[1], row[2]) for row in rows]

    return asyncio.run(read())
