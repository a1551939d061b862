"""Migrations: from nothing to today's schema, once; and a schema from the future is left alone."""

from importlib import resources
from pathlib import Path

import pytest

from registry.errors import Unavailable
from registry.metadata import schema
from registry.metadata.database import Database, Transaction
from registry.metadata.sqlite import SqliteDatabase
from tests.metadata.rows import rows

pytestmark = pytest.mark.anyio

TABLES = {
    "access_grant",
    "blob",
    "change",
    "discard",
    "duty",
    "identity",
    "manifest",
    "membership",
    "policy",
    "pull",
    "reference",
    "registry",
    "replica",
    "repository",
    "repository_blob",
    "review",
    "run",
    "run_step",
    "signing_key",
    "tag",
    "upload",
}


@pytest.fixture
async def empty(tmp_path: Path) -> Database:
    return SqliteDatabase(tmp_path / "empty.db")


async def test_schema_from_nothing(empty: Database) -> None:
    """An empty database gets every table, all of them strict, and remembers each migration."""
    newest = await empty.write(schema.migrate)
    tables = await rows(
        empty, "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'"
    )
    assert {name for name, _ in tables} == TABLES | {"migration"}
    assert {strict for _, strict in tables} == {1}
    assert [row[0] for row in await rows(empty, "SELECT number FROM migration ORDER BY number")] == list(
        range(1, newest + 1)
    )
    empty.close()


async def test_migration_is_done_once(database: Database) -> None:
    """A second start changes nothing."""
    before = await rows(database, "SELECT name, sql FROM sqlite_master ORDER BY name")
    done = await rows(database, "SELECT * FROM migration")
    assert await database.write(schema.migrate) == await database.write(schema.migrate) == len(done)
    assert await rows(database, "SELECT name, sql FROM sqlite_master ORDER BY name") == before
    assert await rows(database, "SELECT * FROM migration") == done


async def test_access_keeps_the_change_log(empty: Database) -> None:
    """Migration 2 makes the change log anew: with every row, and the numbers go on where they stood."""
    first = (resources.files("registry.metadata") / "migrations" / "0001_initial.sql").read_text("utf-8")
    change = (
        "(at, actor, address, request_id, action, repository_id, repository) VALUES (5, 'ada', '', 'r', 'x', 7, 'a')"
    )

    def work(tx: Transaction) -> None:
        tx.run("CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
        for statement in schema._statements(first):
            tx.run(statement)
        tx.run("INSERT INTO migration VALUES (1, '0001_initial.sql')")
        for _ in range(2):
            tx.run(f"INSERT INTO change {change}")
        schema.migrate(tx)
        tx.run(f"INSERT INTO change {change}")

    await empty.write(work)
    found = await rows(empty, "SELECT sequence, at, actor, repository_id, repository, subject, times FROM change")
    assert found == [(sequence, 5, "ada", 7, "a", "", 1) for sequence in (1, 2, 3)]
    assert await rows(empty, "SELECT kind, name FROM identity") == [("anonymous", "anonymous")]
    empty.close()


async def test_newer_schema_is_refused(database: Database) -> None:
    """A database that a later version has migrated is refused and left as it is."""
    await database.write(lambda tx: tx.run("INSERT INTO migration (number, name) VALUES (9999, 'future')"))
    for work in (schema.migrate, schema.find_instance):
        with pytest.raises(Unavailable, match="9999"):
            await database.write(work)
    assert await rows(database, "SELECT max(number) FROM migration") == [(9999,)]


async def test_database_of_another_program_is_left_alone(empty: Database) -> None:
    """A database with tables, none of them the registry's, is refused before anything is written to it."""
    await empty.write(lambda tx: tx.run("CREATE TABLE theirs (x TEXT) STRICT"))
    with pytest.raises(Unavailable, match="another program"):
        await empty.write(schema.migrate)
    assert await rows(empty, "SELECT name FROM sqlite_master") == [("theirs",)]
    empty.close()


async def test_failing_migration_leaves_nothing(empty: Database) -> None:
    """A migration that fails half-way is undone as a whole."""

    def stand_in_the_way(tx: Transaction) -> None:
        tx.run("CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
        tx.run("CREATE TABLE manifest (surprise TEXT) STRICT")

    await empty.write(stand_in_the_way)
    with pytest.raises(Exception, match="already exists"):
        await empty.write(schema.migrate)
    assert await rows(empty, "SELECT name FROM sqlite_master ORDER BY name") == [("manifest",), ("migration",)]
    empty.close()


async def test_instance_is_kept(database: Database) -> None:
    """The first start gives the registry its ids; no later one changes them."""
    assert await database.read(schema.find_instance) is None
    assert await database.write(lambda tx: schema.get_or_make_instance(tx, "first", "000000000001", 1)) == "first"
    assert await database.write(lambda tx: schema.get_or_make_instance(tx, "second", "000000000002", 2)) == "first"
    assert await database.read(schema.find_instance) == "first"
    assert await rows(database, "SELECT * FROM registry") == [
        (1, "first", "000000000001", 1, 0, 0, 0, None, 0, None, 0)
    ]


async def test_commands_do_not_migrate(empty: Database) -> None:
    """A command that only reads finds no registry in an empty database, and says what an old schema needs."""
    assert await empty.read(schema.find_instance) is None
    assert await rows(empty, "SELECT name FROM sqlite_master") == []

    def forget_a_migration(tx: Transaction) -> None:
        schema.migrate(tx)
        tx.run("DELETE FROM migration")

    await empty.write(forget_a_migration)
    with pytest.raises(Unavailable, match="start its server once"):
        await empty.read(schema.find_instance)
    empty.close()
