"""Two versions on one database: what a migration may do, and what each version makes of the other's schema."""

import asyncio
import re
import threading
from collections.abc import Iterator
from functools import partial
from importlib import resources

import psycopg
import pytest
import structlog

from registry.errors import Unavailable
from registry.metadata import postgres, replicas, schema
from registry.metadata.database import Database, Transaction
from registry.metadata.gate import Gate
from registry.metadata.postgres import PostgresDatabase
from registry.metadata.replicas import Replica
from tests.metadata.held_writer import WAIT
from tests.metadata.locks import is_any_waiting
from tests.metadata.numbers import insert, read_numbers
from tests.metadata.rows import rows
from tests.servers.postgres import PostgresServer, fresh_database
from tests.waiting import come_true

pytestmark = pytest.mark.anyio

FIRST_WITH_A_LINE = 5  # those before came before the first release
ADDITIVE, NEEDS_STOP = "-- additive\n", "-- needs: all servers stopped\n"
MIGRATIONS = {number: text for number, _, text in schema._migrations().values()}
# What an additive migration is made of. Older versions remove what they know, and give a new column no value.
ONLY_ADDS = re.compile(
    r"""CREATE\ INDEX\ .*
    |CREATE\ TABLE\ (?!.*\bREFERENCES\b(?!\s+\w+\s*(\([^)]*\)\s*)?ON\ DELETE\ (CASCADE|SET\ NULL)\b))
      (?!.*\bNOT\ NULL\s+REFERENCES\b[^,]*\bSET\ NULL\b).*
    |ALTER\ TABLE\ \w+\ ADD\ COLUMN\ (?!.*\b(REFERENCES|CHECK|UNIQUE|PRIMARY|GENERATED)\b)
      (?!(?!.*\bDEFAULT\b).*\bNOT\ NULL\b)(?!.*\bDEFAULT\b(?!\ (-?\d+|'[^']*')(\s+NOT\ NULL)?\s*$)).*""",
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
MIGRATION = "CREATE TABLE added (id INTEGER PRIMARY KEY) STRICT; ALTER TABLE tag ADD COLUMN note TEXT"


def make_later(monkeypatch: pytest.MonkeyPatch, first_line: str, text: str = MIGRATION) -> int:
    """Let this version have one migration more. Returns its number."""
    known = schema._migrations()
    number = max(known) + 1
    later = {**known, number: (number, f"{number:04d}_later.sql", f"{first_line}{text};\n")}
    monkeypatch.setattr(schema, "_migrations", lambda: later)
    return number


def list_what_adds_nothing(text: str) -> list[str]:
    return [each for each in schema._statements(text) if not ONLY_ADDS.fullmatch(each)]


def note_later(tx: Transaction, number: int, name: str) -> None:
    """A later version has applied the migration."""
    tx.run("INSERT INTO migration (number, name) VALUES (:number, :name)", number=number, name=name)


def test_migrations_say_what_older_versions_can_do_with_them() -> None:
    """The first line is one of two, and what is additive only adds."""
    assert sorted(MIGRATIONS) == list(range(1, len(MIGRATIONS) + 1))
    for number in range(FIRST_WITH_A_LINE, len(MIGRATIONS) + 1):
        text = MIGRATIONS[number]
        assert text.startswith((ADDITIVE, NEEDS_STOP)), number
        assert not schema.is_additive(text) or list_what_adds_nothing(text) == [], number


@pytest.mark.parametrize(
    ("statement", "adds"),
    [
        ("CREATE TABLE a (id INTEGER PRIMARY KEY, b TEXT NOT NULL) STRICT", True),
        ("CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER NOT NULL REFERENCES c (id) ON DELETE CASCADE)", True),
        ("CREATE TABLE a (b INTEGER,\n  FOREIGN KEY (b) REFERENCES c (id) ON DELETE SET NULL\n) STRICT", True),
        ("CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER NOT NULL REFERENCES c (id) ON DELETE RESTRICT)", False),
        ("CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER NOT NULL REFERENCES c (id) ON DELETE SET NULL)", False),
        ("CREATE TABLE a (b INTEGER REFERENCES c (id), d INTEGER REFERENCES e (id) ON DELETE CASCADE)", False),
        ("CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER references c)", False),
        ("CREATE INDEX a_by_b ON a (b)", True),
        ("CREATE UNIQUE INDEX a_by_b ON a (b)", False),
        ("ALTER TABLE a ADD COLUMN b TEXT", True),
        ("ALTER TABLE a ADD COLUMN b INTEGER NOT NULL DEFAULT 0", True),
        ("ALTER TABLE a ADD COLUMN b TEXT DEFAULT 'c' NOT NULL", True),
        ("ALTER TABLE a ADD COLUMN b INTEGER DEFAULT 0 CHECK (b < 1)", False),
        ("ALTER TABLE a ADD COLUMN b TEXT CHECK (b <> '')", False),
        ("ALTER TABLE a ADD COLUMN b TEXT UNIQUE", False),
        ("ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP", False),
        ("ALTER TABLE a ADD COLUMN b INTEGER DEFAULT (random())", False),
        ("ALTER TABLE a ADD COLUMN b INTEGER NOT NULL", False),
        ("ALTER TABLE a ADD COLUMN b INTEGER REFERENCES c (id)", False),
        ("ALTER TABLE a DROP COLUMN b", False),
        ("ALTER TABLE a RENAME COLUMN b TO c", False),
        ("DROP TABLE a", False),
        ("DROP INDEX a_by_b", False),
        ("UPDATE a SET b = 1", False),
        ("CREATE TRIGGER a AFTER INSERT ON b BEGIN SELECT 1", False),
    ],
)
def test_what_only_adds(statement: str, adds: bool) -> None:
    """Older versions go on with new tables, indexes that refuse nothing, and columns that need no value."""
    assert (list_what_adds_nothing(f"{ADDITIVE}{statement};") == []) is adds


def test_statements_name_their_columns() -> None:
    """So that a column more changes nothing for a version that does not know it."""
    folder = resources.files("registry.metadata")
    for file in (file for file in folder.iterdir() if file.name.endswith(".py")):
        text = file.read_text("utf-8")
        assert not re.search(r"SELECT (\w+\.)?\*|RETURNING \*|INSERT INTO \w+ (VALUES|SELECT)", text), file.name


async def test_newer_schema_is_refused(database: Database) -> None:
    """A database that a later version has migrated is refused and left as it is."""
    await database.write(partial(note_later, number=9999, name="9999_future.sql"))
    for work in (schema.migrate, schema.find_instance, schema.refuse_more):
        with pytest.raises(Unavailable, match=r"schema 9999, this version knows \d"):
            await database.write(work)
    assert await rows(database, "SELECT max(number) FROM migration") == [(9999,)]


@pytest.mark.fault("F50")
async def test_schema_that_only_has_more_is_served(database: Database) -> None:
    """An older version goes on with it and starts on it, but saves and moves nothing of which it does not know all."""
    await database.write(partial(note_later, number=9999, name=f"9999_future.sql{schema._ADDITIVE}"))
    assert await database.write(schema.migrate) == 9999
    assert await database.read(schema.find_instance) is None
    with pytest.raises(Unavailable, match="with the newer version"):
        await database.read(schema.refuse_more)
    await database.write(partial(note_later, number=10000, name="10000_other.sql"))
    with pytest.raises(Unavailable, match="10000"):
        await database.write(schema.migrate)


@pytest.mark.parametrize(("first_line", "is_served"), [(ADDITIVE, True), (NEEDS_STOP, False), ("", False)])
async def test_first_line_decides(
    database: Database, monkeypatch: pytest.MonkeyPatch, first_line: str, is_served: bool
) -> None:
    """What a later version applies is in the migration's row, and a version without it judges by that."""
    with monkeypatch.context() as later:
        number = make_later(later, first_line)
        assert await database.write(schema.migrate) == number
        await database.read(schema.refuse_more)
    if is_served:
        assert await database.write(schema.migrate) == number
        await database.write(schema.refuse_newer)
        return
    for work in (schema.migrate, schema.refuse_newer):
        with pytest.raises(Unavailable, match="install the newer one again"):
            await database.write(work)


@pytest.mark.fault("F47", "F50")
async def test_server_that_sleeps_through_a_migration_writes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first write finds the schema that it does not know; one that only has more stops nobody."""

    def change(tx: Transaction) -> None:
        tx.run("DELETE FROM duty WHERE name = 'nothing'")

    gate = Gate(database, "here")
    gate.arm()
    await gate.write(change)
    with monkeypatch.context() as later:
        make_later(later, ADDITIVE)
        await database.write(schema.migrate)
    await gate.write(change)
    with monkeypatch.context() as later:
        make_later(later, ADDITIVE)
        make_later(later, NEEDS_STOP, "DROP TABLE added")
        await database.write(schema.migrate)
    with pytest.raises(Unavailable, match="install the newer one again"):
        await gate.write(change)


@pytest.mark.fault("F50")
async def test_nothing_is_taken_from_servers_that_live(
    served: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that they could not work with is refused and names them; one that only adds is applied."""
    await served.write(partial(replicas.beat, replica=Replica("one", "10.0.0.1:5000", "0.1.0")))
    with monkeypatch.context() as later:
        make_later(later, NEEDS_STOP)
        with pytest.raises(Unavailable, match=r"10\.0\.0\.1:5000 \(version 0\.1\.0\).* Stop all of them"):
            await served.write(schema.migrate)
    before = await rows(served, "SELECT number FROM migration")
    assert await served.write(schema.migrate) == len(before)
    with monkeypatch.context() as later:
        make_later(later, ADDITIVE)
        assert await served.write(schema.migrate) == len(before) + 1
    await served.write(partial(replicas.end, replica_id="one"))
    make_later(monkeypatch, NEEDS_STOP)  # with the number of the one that was applied
    assert await served.write(schema.migrate) == len(before) + 1


@pytest.fixture
def holder(url: str) -> Iterator[psycopg.Connection]:
    """Somebody else in the database, whose transaction ends when the test says so, or at its end."""
    with psycopg.connect(url) as connection:
        yield connection


async def test_start_without_a_migration_waits_for_nobody(
    numbers: PostgresDatabase, holder: psycopg.Connection
) -> None:
    """A server that starts again needs no lock that writes under way would have to give up first."""
    holder.execute("LOCK TABLE migration IN ROW SHARE MODE")  # as each write has it
    async with asyncio.timeout(WAIT / 2):
        await numbers.write(schema.migrate)


@pytest.mark.fault("F50")
@pytest.mark.parametrize("held", ["SELECT 1 FROM tag", "LOCK TABLE migration IN ROW SHARE MODE"])
async def test_migration_lets_others_pass(
    numbers: PostgresDatabase, holder: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """While it waits for a long read or write, who comes behind it waits a moment; then it is done."""
    monkeypatch.setattr(postgres, "_WAIT_SECONDS", 0.1)
    number = make_later(monkeypatch, ADDITIVE)
    holder.execute(held)
    migrating = asyncio.create_task(numbers.write(schema.migrate))
    async with asyncio.timeout(WAIT / 2):
        for _ in range(3):
            await come_true(partial(numbers.read, is_any_waiting), "the migration waits for a lock")
            assert await numbers.read(lambda tx: tx.run("SELECT id FROM tag")) == []
            await numbers.write(insert(1))
    assert not migrating.done()
    holder.rollback()
    assert await migrating == number
    assert len(await read_numbers(numbers)) == 3


async def test_migration_gives_up(
    numbers: PostgresDatabase, holder: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When what it waits for does not end, it says so, and has changed nothing."""
    monkeypatch.setattr(postgres, "_MOST_WAITS", 0)
    before = await rows(numbers, "SELECT number FROM migration")
    make_later(monkeypatch, ADDITIVE)
    holder.execute("SELECT 1 FROM tag")
    with pytest.raises(Unavailable, match="something reads or writes for long"):
        await numbers.write(schema.migrate)
    assert await rows(numbers, "SELECT number FROM migration") == before


@pytest.mark.fault("F50")
async def test_long_read_keeps_the_schema(numbers: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change waits for it, and finds it in its way; writes do not, nor those that must be alone."""
    monkeypatch.setattr(postgres, "_MOST_WAITS", 0)
    has_begun, may_end = threading.Event(), threading.Event()

    def read(tx: Transaction) -> object:
        tx.keep_schema()
        tx.run("SELECT 1 FROM registry")
        has_begun.set()
        assert may_end.wait(WAIT)
        return tx.run("SELECT n FROM number")

    def write(tx: Transaction) -> None:
        tx.alone()
        insert(1)(tx)

    reading = asyncio.create_task(numbers.read(read))
    assert await asyncio.to_thread(has_begun.wait, WAIT)
    with monkeypatch.context() as later:
        number = make_later(later, ADDITIVE, "ALTER TABLE number ADD COLUMN note TEXT")
        with pytest.raises(Unavailable, match="a backup or a vacuum"):
            await numbers.write(schema.migrate)
        await numbers.write(write)
        may_end.set()
        assert await reading == []
        assert await numbers.write(schema.migrate) == number


@pytest.mark.parametrize("code", ["40P01", "40001", "55P03"])
async def test_read_that_meets_a_migration_is_run_again(numbers: PostgresDatabase, code: str) -> None:
    """The victim of a deadlock, and what is like it, comes through the second time; a third time there is not."""
    failures = iter((1, 0, 1, 1))

    def read(tx: Transaction) -> object:
        tx.run("SELECT id FROM tag")
        if next(failures):
            tx.run(f"DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''{code}''; END'")
        return tx.run("SELECT id FROM repository")

    assert await numbers.read(read) == []
    with pytest.raises(Unavailable):
        await numbers.read(read)
    assert await numbers.read(lambda tx: tx.run("SELECT id FROM repository")) == []


SLOW_VACUUM = """
CREATE TABLE large (n BIGINT, filling TEXT) WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
  autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 1000000);
INSERT INTO large SELECT n, repeat('x', 500) FROM generate_series(1, 20000) AS n;
DELETE FROM large WHERE n % 2 = 0
"""
UNDER_WAY = (
    "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = CAST('large' AS regclass) AND granted"
    " AND backend_type = 'autovacuum worker'"
)


@pytest.mark.fault("F50")
async def test_migration_ends_an_autovacuum(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes minutes is in its way: now and then it waits for so long that the server ends it."""
    monkeypatch.setattr(postgres, "_WAIT_SECONDS", 0.1)
    server = PostgresServer(autovacuum_naptime="1s")
    try:
        url = fresh_database(server)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SLOW_VACUUM)
        number = make_later(monkeypatch, ADDITIVE, "ALTER TABLE large ADD COLUMN note TEXT")
        database = PostgresDatabase(url)
        try:
            await come_true(lambda: database.read(lambda tx: tx.one(UNDER_WAY) is not None), "it is vacuumed", 60)
            with structlog.testing.capture_logs() as logs:
                assert await database.write(schema.migrate) == number
            assert [each["event"] for each in logs] == ["the change of the schema waits"]
        finally:
            database.close()
    finally:
        server.remove()
