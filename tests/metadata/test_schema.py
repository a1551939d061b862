"""Migrations: from nothing to today's schema, once; and a schema from the future is left alone."""

import asyncio
from importlib import resources
from pathlib import Path

import pytest

from registry.errors import Unavailable
from registry.metadata import schema
from registry.metadata.database import Database, Transaction
from registry.metadata.postgres import PostgresDatabase
from registry.metadata.sqlite import SqliteDatabase
from tests.metadata.databases import open_empty
from tests.metadata.rows import rows
from tests.places import DatabaseKind

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


async def tables(database: Database) -> set[str]:
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    if database.is_shared:
        sql = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    return {row[0] for row in await rows(database, sql)}


async def describe(database: Database) -> object:
    """Whatever the database knows of its own schema."""
    if database.is_shared:
        return sorted(await rows(database, f"{COLUMNS} UNION ALL SELECT 1, indexname, indexdef FROM pg_indexes"))
    return await rows(database, "SELECT name, sql FROM sqlite_master ORDER BY name")


COLUMNS = (
    "SELECT 0, CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns"
    " WHERE table_schema = current_schema()"
)


async def test_schema_from_nothing(empty: Database) -> None:
    """An empty database gets every table, and remembers each migration."""
    newest = await empty.write(schema.migrate)
    assert await tables(empty) == TABLES | {"migration"}
    assert [row[0] for row in await rows(empty, "SELECT number FROM migration ORDER BY number")] == list(
        range(1, newest + 1)
    )


async def test_tables_are_strict(embedded: SqliteDatabase) -> None:
    """SQLite would take a text for a number otherwise."""
    found = await rows(
        embedded, "SELECT DISTINCT strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'"
    )
    assert found == [(1,)]


@pytest.mark.fault("F40")
async def test_both_kinds_have_the_same_columns(embedded: SqliteDatabase, served: PostgresDatabase) -> None:
    """Table by table, column by column: what it is called, of which type it is, and whether it may be NULL."""
    types = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}
    expected = await rows(
        embedded,
        'SELECT m.name, c.name, c.type, c."notnull" = 1 OR c.pk > 0, c.dflt_value FROM sqlite_master AS m,'
        " pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'",
    )
    found = await rows(
        served,
        "SELECT table_name, column_name, data_type, is_nullable = 'NO', column_default"
        " FROM information_schema.columns WHERE table_schema = current_schema()",
    )
    assert {(table, column, kind, bool(is_needed)) for table, column, kind, is_needed, _ in found} == {
        (table, column, types[kind], bool(is_needed)) for table, column, kind, is_needed, _ in expected
    }
    plain = {(table, column): value and value.partition("::")[0] for table, column, _, _, value in found}
    assert plain == {(table, column): value for table, column, _, _, value in expected}


async def test_texts_are_in_byte_order(served: PostgresDatabase) -> None:
    """Each column with text has the collation C, whatever the cluster's is."""
    found = await rows(
        served,
        "SELECT DISTINCT data_type, collation_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND (data_type = 'text' OR collation_name IS NOT NULL)",
    )
    assert found == [("text", "C")]


async def test_both_kinds_have_the_same_indexes(embedded: SqliteDatabase, served: PostgresDatabase) -> None:
    """Those that were made by name are there on both, each on the same table."""
    expected = await rows(
        embedded, "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_%'"
    )
    found = await rows(served, "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = current_schema()")
    assert set(expected) <= set(found)
    made = {name for _, name in found} - {name for _, name in expected}
    assert {name.rpartition("_")[2] for name in made} == {"pkey", "key"}


async def test_migration_is_done_once(database: Database) -> None:
    """A second start changes nothing."""
    before = await describe(database)
    done = await rows(database, "SELECT * FROM migration")
    assert await database.write(schema.migrate) == await database.write(schema.migrate) == len(done)
    assert await describe(database) == before
    assert await rows(database, "SELECT * FROM migration") == done


@pytest.mark.fault("F49")
async def test_servers_that_start_at_once_migrate_once(kind: DatabaseKind, tmp_path: Path) -> None:
    """Of several that find an empty database one migrates, and the others find it done."""
    first = open_empty(kind, tmp_path)
    found = await asyncio.gather(*(first.write(schema.migrate) for _ in range(5)))
    assert len(set(found)) == 1
    assert len(await rows(first, "SELECT * FROM migration")) == found[0]
    first.close()


async def test_access_keeps_the_change_log(tmp_path: Path) -> None:
    """Migration 2 makes the change log anew: with every row, and the numbers go on where they stood.

    On SQLite alone: no registry was on PostgreSQL before migration 4.
    """
    empty = open_empty("sqlite", tmp_path)
    first = (resources.files("registry.metadata") / "migrations" / "0001_initial.sql").read_text("utf-8")
    change = (
        "(at, actor, address, request_id, action, repository_id, repository) VALUES (5, 'ada', '', 'r', 'x', 7, 'a')"
    )

    def work(tx: Transaction) -> None:
        schema._define(tx, "CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
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


async def test_database_of_another_program_is_left_alone(empty: Database) -> None:
    """A database with tables, none of them the registry's, is refused before anything is written to it."""
    await empty.write(lambda tx: schema._define(tx, "CREATE TABLE theirs (x TEXT) STRICT"))
    with pytest.raises(Unavailable, match="another program"):
        await empty.write(schema.migrate)
    assert await tables(empty) == {"theirs"}


async def test_failing_migration_leaves_nothing(empty: Database) -> None:
    """A migration that fails half-way is undone as a whole."""

    def stand_in_the_way(tx: Transaction) -> None:
        schema._define(tx, "CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
        schema._define(tx, "CREATE TABLE manifest (surprise TEXT) STRICT")

    await empty.write(stand_in_the_way)
    with pytest.raises(Exception, match="already exists"):
        await empty.write(schema.migrate)
    assert await tables(empty) == {"manifest", "migration"}


async def test_instance_is_kept(database: Database) -> None:
    """The first start gives the registry its ids; no later one changes them."""
    assert await database.read(schema.find_instance) is None
    assert await database.write(lambda tx: schema.get_or_make_instance(tx, "first", "000000000001", 1)) == "first"
    assert await database.write(lambda tx: schema.get_or_make_instance(tx, "second", "000000000002", 2)) == "first"
    assert await database.read(schema.find_instance) == "first"
    found = await rows(database, "SELECT one, instance, registry_id, created_at FROM registry")
    assert found == [(1, "first", "000000000001", 1)]


async def test_commands_do_not_migrate(empty: Database) -> None:
    """A command that only reads finds no registry in an empty database, and says what an old schema needs."""
    assert await empty.read(schema.find_instance) is None
    assert await tables(empty) == set()

    def forget_a_migration(tx: Transaction) -> None:
        schema.migrate(tx)
        tx.run("DELETE FROM migration")

    await empty.write(forget_a_migration)
    with pytest.raises(Unavailable, match="start its server once"):
        await empty.read(schema.find_instance)
