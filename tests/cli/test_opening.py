"""Which registries a command opens, and what it says of the others."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from registry.cli.invocation import Invocation, Refused, user_name
from registry.cli.opening import explained
from registry.cli.places import show_registry
from registry.config import Config
from tests.cli.conftest import Filled
from tests.cli.running import Outcome, entrepot
from tests.places import make_config, only_on, open_database

READS = [
    ("repository", "list"),
    ("repository", "show", "a"),
    ("tag", "list", "a"),
    ("tag", "history", "a", "b"),
    ("check",),
]
CHANGES = [("repository", "delete", "a", "--yes")]


@pytest.mark.parametrize("command", [*READS, *CHANGES], ids=" ".join)
def test_no_registry_is_made_by_looking_for_one(command: tuple[str, ...], data: Path) -> None:
    """Where no registry is, a command says so and leaves nothing behind."""
    assert_none_here(entrepot(*command), data)
    assert not data.exists()


@only_on("sqlite", "a file that is not whole")
def test_a_file_that_no_start_has_finished_is_no_registry(data: Path) -> None:
    """An empty database is what a server leaves that was killed in its first moment."""
    data.mkdir()
    (data / "entrepot.db").touch()
    assert_none_here(entrepot("repository", "list"), data)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("INSERT INTO migration VALUES (5, 'next')", "has schema 5, this version knows 4: install the newer one again"),
        ("DELETE FROM migration WHERE number = 4", "has schema 3, this version needs 4: start its server once"),
    ],
)
def test_another_versions_database_is_refused(filled: Filled, sql: str, said: str) -> None:
    """A command reads only the schema of its own version, and says how to get there."""
    asyncio.run(change(filled, sql))
    outcome = entrepot("repository", "list")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert said in outcome.stderr


@only_on("sqlite", "its file has an owner, and a folder")
@pytest.mark.parametrize("command", [("serve",), *READS, *CHANGES], ids=" ".join)
def test_a_file_in_place_of_the_directory_is_told(command: tuple[str, ...], data: Path) -> None:
    """A data directory that is a file is named, with the setting to change."""
    data.touch()
    outcome = entrepot(*command)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == f"entrepot: {data} is not a directory: set ENTREPOT_DATA to another one\n"


@only_on("sqlite", "its file has an owner, and a folder")
def test_a_file_in_place_of_the_store_is_told(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is a file is named, and no setting that another one would help."""
    monkeypatch.setenv("ENTREPOT_STORAGE", f"file://{filled.data}/entrepot.db")
    outcome = entrepot("check")
    assert (outcome.status, outcome.stderr) == (1, f"entrepot: {filled.data}/entrepot.db is not a directory\n")


@only_on("sqlite", "a file that is not whole")
def test_a_damaged_database_is_told(data: Path) -> None:
    """A file that is no database is named, without a traceback."""
    data.mkdir()
    (data / "entrepot.db").write_bytes(b"no database at all" * 1000)
    outcome = entrepot("repository", "list")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(f"entrepot: {data}/entrepot.db: the database is damaged: restore it from a backup")


@only_on("sqlite", "its file has an owner, and a folder")
def test_a_refused_file_names_its_owner(filled: Filled) -> None:
    """Whoever may not open the files of another user is told as whom to try."""
    stranger = Invocation(os.geteuid() + 1, "entrepot", ["check"])
    with pytest.raises(Refused) as refusal, explained(Config(data=filled.data), stranger):
        raise PermissionError(errno.EACCES, "Permission denied", str(filled.data))
    assert str(refusal.value).startswith(f"{filled.data}: Permission denied\n")
    assert str(refusal.value).endswith(f"try sudo -u {user_name(os.geteuid())} -E entrepot check")


def test_a_config_file_is_accepted_everywhere(filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config says where the registry is; a file that cannot be read is status 1."""
    monkeypatch.delenv("ENTREPOT_DATA")
    file = tmp_path / "entrepot.toml"
    file.write_text(f'data = "{filled.data}"\n')
    for command in (["repository", "list"], ["tag", "list", "demo/app"], ["check"], ["config", "show"]):
        outcome = entrepot(*command, "--config", str(file))
        assert outcome.status == 0, outcome.stderr
        outcome = entrepot(*command, "--config", str(tmp_path / "absent.toml"))
        assert (outcome.status, outcome.stderr) == (
            1,
            f"entrepot: {tmp_path}/absent.toml cannot be read: No such file or directory\n",
        )


def test_a_user_without_a_name_has_a_number() -> None:
    """Containers run as users that no list names; sudo writes them with a #."""
    assert user_name(4_000_000_000) == "#4000000000"


def assert_none_here(outcome: Outcome, data: Path) -> None:
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(
        f"entrepot: there is no registry in {show_registry(make_config(data))} yet: `entrepot serve` makes one"
    )


async def change(filled: Filled, statement: str) -> None:
    database = open_database(filled.data)
    try:
        await database.write(lambda tx: tx.run(statement))
    finally:
        database.close()
