"""The SQL itself: constant text everywhere, and no statement that reads a whole table."""

import re
from functools import partial

import pytest

from registry.metadata.database import Database, Row, Transaction, Value
from registry.metadata.postgres import PostgresDatabase
from registry.metadata.sqlite import SqliteDatabase
from tests.metadata.rows import rows
from tests.metadata.statements import Statement, find_statements

pytestmark = pytest.mark.anyio

STATEMENTS = find_statements()

# Statements that are built at run time, with where their text comes from.
NOT_CONSTANT = {
    ("sqlite.py", "sql"),  # its transaction passes on what its callers, all in this folder, give it
    ("sqlite.py", "begin"),  # BEGIN or BEGIN IMMEDIATE, in the same module
    ("postgres_transactions.py", "sql"),  # as in sqlite.py
    ("postgres_transactions.py", "prefix + text"),  # the same with the words of another database
    ("postgres_transactions.py", "f'SELECT {CLOCK}'"),
    ("postgres_connections.py", "_SETTINGS"),
    ("schema.py", "statement"),  # the text of the migrations
    ("transfer.py", "table.select"),  # of the names in its own table of tables, as the next two
    ("transfer.py", "table.insert_one"),
    ("transfer.py", "table.insert_many"),
}
# Tables that have one row, or a few: a key or two that sign, the servers that serve.
SMALL = {"SCAN registry", "SCAN signing_key", "SCAN replica"}
# Statements that look at a whole table: at one row of it, or for commands that ask everything.
WHOLE_TABLES = {
    "SELECT 1 FROM blob LIMIT 1",
    "SELECT count(*) FROM blob",
    # For `entrepot scrub`, which reads every blob, and for `garbage explain`, which asks every repository.
    "SELECT count(*), coalesce(sum(size), 0) FROM blob",
    "SELECT count(*) FROM blob WHERE damaged_at IS NOT NULL",  # an index of the damaged ones alone
    (
        "SELECT manifest.id, name, manifest.deleted_at IS NULL AND repository.deleted_at IS NULL FROM manifest"
        " JOIN repository ON repository.id = manifest.repository_id WHERE manifest.digest = :digest"
    ),
    # For `entrepot restore` and `entrepot migrate`, which move all rows.
    "UPDATE blob SET damaged_at = NULL WHERE damaged_at IS NOT NULL",
}
# What is about one kind of database, and not about the registry.
ONLY_SQLITE, ONLY_POSTGRES = re.compile(r"\bsqlite_"), re.compile(r"\bpg_")
READS = [
    one
    for one in STATEMENTS
    if one.text and re.match("SELECT|INSERT|UPDATE|DELETE", one.text) and not one.place.startswith("postgres")
]
# Where NULL, which stands for every other parameter here, would be taken for a text.
EXAMPLES: dict[str, Value] = {"now": 1, "condemns": True, "is_whole": True, "is_visible": True}
EXAMPLES |= {"is_deleted": True, "is_untagged": True}


def test_all_sql_is_constant() -> None:
    """No value ever becomes part of a statement's text: statements are constants, values are parameters."""
    built = {(one.place.partition(":")[0], one.argument) for one in STATEMENTS if one.text is None}
    assert built == NOT_CONSTANT
    assert len(READS) > 30


@pytest.mark.parametrize("statement", READS, ids=lambda one: one.place)
async def test_statement_uses_indexes(embedded: SqliteDatabase, statement: Statement) -> None:
    """No statement scans a table, and none sorts what it reads: their work does not grow with the registry."""
    text = statement.text or ""
    if text in WHOLE_TABLES or ONLY_SQLITE.search(text) or ONLY_POSTGRES.search(text):
        return
    plan = await explain(embedded, text)
    scans = [
        step
        for step in plan
        if step.startswith("SCAN") and step not in SMALL | {"SCAN CONSTANT ROW"} and "subquery" not in step
    ]
    assert scans == [], f"{text}\n{plan}"
    assert [step for step in plan if "B-TREE FOR ORDER BY" in step] == [], f"{text}\n{plan}"


async def test_postgresql_understands_every_statement(served: PostgresDatabase) -> None:
    """What SQLite runs, PostgreSQL takes as it is: names, functions, and the types of what is compared."""
    for text in {one.text or "" for one in READS}:
        if not ONLY_SQLITE.search(text):
            parameters = {name: EXAMPLES.get(name) for name in re.findall(r":(\w+)", text)}
            assert await served.write(partial(run, sql=f"EXPLAIN {text}", parameters=parameters)), text


def run(tx: Transaction, sql: str, parameters: dict[str, Value]) -> list[Row]:
    return tx.run(sql, **parameters)


async def test_foreign_keys_are_indexed(embedded: SqliteDatabase) -> None:
    """Whether a row is still referred to is answered by an index, for each foreign key there is."""
    keys = await rows(
        embedded,
        "SELECT m.name, f.id, string_agg(f.\"from\" || ' = 1', ' AND ') FROM sqlite_master AS m,"
        " pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' GROUP BY m.name, f.id",
    )
    assert len(keys) >= 8
    for table, _, condition in keys:
        plan = await explain(embedded, f"SELECT 1 FROM {table} WHERE {condition}")
        columns = condition.count(" = 1")
        assert len(plan) == 1, plan
        assert plan[0].startswith("SEARCH"), f"{table}: {condition}: {plan}"
        assert plan[0].count("=?") == columns, f"{table}: {condition}: {plan}"


async def explain(database: Database, sql: str) -> list[str]:
    def work(tx: Transaction) -> list[str]:
        parameters = dict.fromkeys(re.findall(r":(\w+)", sql))
        return [row[3] for row in tx.run(f"EXPLAIN QUERY PLAN {sql}", **parameters)]

    return await database.read(work)
