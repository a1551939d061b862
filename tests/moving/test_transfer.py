"""The tables as they leave a database and come into another one."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.metadata import schema
from registry.metadata.database import Transaction
from registry.metadata.sqlite import SqliteDatabase
from registry.metadata.transfer import LEFT_OUT, SIGNING_KEYS, TABLES
from registry.moving import rows
from registry.moving.rows import RowsDamaged
from tests.metadata.rows import rows as read

pytestmark = pytest.mark.anyio
ALL = (*TABLES, SIGNING_KEYS)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database that has the schema and no rows."""
    opened = SqliteDatabase(tmp_path / "entrepot.db")
    await opened.write(schema.migrate)
    yield opened
    opened.close()


async def test_every_column_is_taken(database: SqliteDatabase) -> None:
    """No table and no column of the schema is forgotten, and none is named that is not there."""
    found = await database.read(
        lambda tx: tx.run(
            "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c"
            " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
        )
    )
    there = {(table, column) for table, column in found if table not in LEFT_OUT}
    assert there == {(table.name, column) for table in ALL for column in table.columns}
    assert {table for table, _ in found} >= set(LEFT_OUT)


async def test_rows_are_sorted_by_their_keys(database: SqliteDatabase) -> None:
    """The columns that rows are sorted by are the primary key, so that the order is always the same one."""
    for table in ALL:
        keys = await read(
            database, "SELECT name FROM pragma_table_info(:name) WHERE pk > 0 ORDER BY pk", name=table.name
        )
        assert [row[0] for row in keys] == list(table.columns[: table.keys]), table.name


async def test_tables_follow_what_they_refer_to(database: SqliteDatabase) -> None:
    """A row is never inserted before the one that its foreign key names."""
    order = [table.name for table in ALL]
    keys = await database.read(
        lambda tx: tx.run(
            'SELECT m.name, f."table" FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f'
            " WHERE m.type = 'table'"
        )
    )
    named = [(table, target) for table, target in keys if table not in LEFT_OUT and table != target]
    assert len(named) >= 8
    assert [(table, target) for table, target in named if order.index(target) >= order.index(table)] == []


async def test_tables_with_ids_that_are_never_used_again(database: SqliteDatabase) -> None:
    """Every table that numbers its rows is known as one, and its first column has the numbers."""
    found = await database.read(
        lambda tx: tx.run("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'")
    )
    assert {row[0] for row in found} == {table.name for table in ALL if table.numbers}


async def test_ids_are_not_given_again(database: SqliteDatabase, tmp_path: Path) -> None:
    """An id whose row is gone is not given to another one, neither here nor where the rows went."""

    def add(tx: Transaction) -> int:
        sql = (
            "INSERT INTO identity (kind, name, secret, created_at, created_by)"
            " VALUES ('user', 'a', 'b', 0, '') RETURNING id"
        )
        return int(tx.only(sql)[0])

    def add_and_remove(tx: Transaction) -> int:
        number = add(tx)
        tx.run("DELETE FROM identity WHERE name = 'a'")
        return number

    last = await database.write(add_and_remove)
    other = SqliteDatabase(tmp_path / "other.db")
    await other.write(schema.migrate)
    file = io.BytesIO()
    await database.read(lambda tx: rows.write(tx, file, ALL))
    await other.write(lambda tx: rows.insert(tx, file, ALL))
    assert await other.write(add) == last + 1
    other.close()


LINES = b"""{"table": "membership", "columns": ["group_id", "user_id"]}\n[1, 2]\n{"numbers": {}}\n"""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the rows end early"),
        (LINES[:62], "line 2 is no JSON"),
        (b"".join(LINES.splitlines(keepends=True)[:2]), "the rows end early"),
        (LINES + b"[1, 2]\n", "line 4 follows the end"),
        (LINES.replace(b"[1, 2]", b"[1]"), "line 2 is no row of a table"),
        (LINES.replace(b"[1, 2]", b"1"), "line 2 is neither a row nor a table"),
        (LINES.replace(b"[1, 2]", b'[1, {"base64": "?"}]'), "line 2 has bytes that cannot be read"),
        (b"[1, 2]\n", "line 1 is no row of a table"),
        (LINES.replace(b"membership", b"elsewhere"), "line 1 is a table that this version does not know: elsewhere"),
        (LINES.replace(b"user_id", b"robot_id"), "line 1 is a table that this version does not know: membership"),
    ],
)
async def test_damaged_lines_are_refused(database: SqliteDatabase, content: bytes, problem: str) -> None:
    """Lines that are not what was written say where, and leave nothing behind."""
    with pytest.raises(RowsDamaged) as refusal:
        await database.write(lambda tx: rows.insert(tx, io.BytesIO(content), ALL))
    assert str(refusal.value) == problem
    assert await database.read(lambda tx: tx.run("SELECT name FROM identity")) == [("anonymous",)]
