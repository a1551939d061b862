"""The SQL itself: constant text everywhere, and no statement that reads a whole table."""

import re

import pytest

from registry.metadata.database import Database, Transaction
from tests.metadata.rows import rows
from tests.metadata.statements import Statement, find_statements

pytestmark = pytest.mark.anyio

STATEMENTS = find_statements()

# Statements that are built at run time, with where their text comes from.
NOT_CONSTANT = {
    ("sqlite.py", "sql"),  # its transaction passes on what its callers, all in this folder, give it
    ("sqlite.py", "begin"),  # BEGIN or BEGIN IMMEDIATE, in the same module
    ("schema.py", "statement"),  # the text of the migrations
}
# Statements that look at a whole table: at one row of it, at a table with one row, or for `entrepot check`.
WHOLE_TABLES = {
    "SELECT 1 FROM blob LIMIT 1",
    "SELECT count(*) FROM blob",
    "SELECT instance FROM registry",
    "SELECT registry_id FROM registry",
    "SELECT access_epoch FROM registry",
    "SELECT is_guarded FROM registry",
    "UPDATE registry SET is_guarded = 1",
    "UPDATE registry SET access_epoch = access_epoch + 1",
    # The keys that sign tokens are two or three.
    "SELECT kid, private_key, created_at, retired_at FROM signing_key",
    "UPDATE signing_key SET retired_at = :now WHERE retired_at IS NULL RETURNING 1",
    "DELETE FROM signing_key WHERE retired_at <= :until RETURNING 1",
    "DELETE FROM signing_key RETURNING 1",
    "UPDATE registry SET is_running = 0",
    "SELECT undelete_days FROM registry",
    "UPDATE registry SET is_running = 1",
    (
        "UPDATE registry SET quiet_until = max(quiet_until, :until), is_running = 0"
        " WHERE is_running OR file_number <> :file"
    ),
    "UPDATE registry SET file_number = :file WHERE file_number IS NOT :file",
    "UPDATE registry SET undelete_days = :days WHERE undelete_days IS NOT :days RETURNING 1",
    "UPDATE registry SET policy_sequence = :end",
    "SELECT quiet_until FROM registry",
    "SELECT policy_sequence FROM registry",
    # For `entrepot scrub`, which reads every blob, and for `garbage explain`, which asks every repository.
    "SELECT count(*), coalesce(sum(size), 0) FROM blob",
    "SELECT count(*) FROM blob WHERE damaged_at IS NOT NULL",  # an index of the damaged ones alone
    (
        "SELECT manifest.id, name, manifest.deleted_at IS NULL AND repository.deleted_at IS NULL FROM manifest"
        " JOIN repository ON repository.id = manifest.repository_id WHERE manifest.digest = :digest"
    ),
    "SELECT 1 FROM sqlite_master",
    "SELECT 1 FROM sqlite_master WHERE name = 'migration'",
}

READS = [one for one in STATEMENTS if one.text and re.match("SELECT|INSERT|UPDATE|DELETE", one.text)]


def test_all_sql_is_constant() -> None:
    """No value ever becomes part of a statement's text: statements are constants, values are parameters."""
    built = {(one.place.partition(":")[0], one.argument) for one in STATEMENTS if one.text is None}
    assert built == NOT_CONSTANT
    assert len(READS) > 30


@pytest.mark.parametrize("statement", READS, ids=lambda one: one.place)
async def test_statement_uses_indexes(database: Database, statement: Statement) -> None:
    """No statement scans a table, and none sorts what it reads: their work does not grow with the registry."""
    if statement.text in WHOLE_TABLES:
        return
    plan = await explain(database, statement.text or "")
    scans = [
        step for step in plan if step.startswith("SCAN") and step != "SCAN CONSTANT ROW" and "subquery" not in step
    ]
    assert scans == [], f"{statement.text}\n{plan}"
    assert [step for step in plan if "B-TREE FOR ORDER BY" in step] == [], f"{statement.text}\n{plan}"


async def test_foreign_keys_are_indexed(database: Database) -> None:
    """Whether a row is still referred to is answered by an index, for each foreign key there is."""
    keys = await rows(
        database,
        "SELECT m.name, f.id, group_concat(f.\"from\" || ' = 1', ' AND ') FROM sqlite_master AS m,"
        " pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' GROUP BY m.name, f.id",
    )
    assert len(keys) >= 8
    for table, _, condition in keys:
        plan = await explain(database, f"SELECT 1 FROM {table} WHERE {condition}")
        columns = condition.count(" = 1")
        assert len(plan) == 1, plan
        assert plan[0].startswith("SEARCH"), f"{table}: {condition}: {plan}"
        assert plan[0].count("=?") == columns, f"{table}: {condition}: {plan}"


async def explain(database: Database, sql: str) -> list[str]:
    def work(tx: Transaction) -> list[str]:
        parameters = dict.fromkeys(re.findall(r":(\w+)", sql))
        return [row[3] for row in tx.run(f"EXPLAIN QUERY PLAN {sql}", **parameters)]

    return await database.read(work)
