"""Values: what goes into a database comes out of it, and is compared and sorted alike, whichever kind it is."""

from collections.abc import Callable

import apsw
import psycopg
import pytest

from registry.metadata import changes, identities, manifests, repositories, schema
from registry.metadata.database import Database, Row, Transaction, Value
from registry.metadata.identities import Identity, Kind
from registry.oci.names import RepositoryName
from storage.digest import Digest
from tests.metadata.rows import DEED, insert_repository, rows
from tests.metadata.statements import find_statements

pytestmark = [pytest.mark.anyio, pytest.mark.fault("F40")]

TEXTS = [
    "",
    "a",
    "it's",
    'a "b"',
    "back\\slash\\",
    "%s %(x)s %%",
    ":name ::text",
    "$1 $$",
    "line\nline\r\t",
    "ä€😀",
    "NULL",
]
NUMBERS = [0, 1, -1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)]
CONTENTS = [b"", b"\0", b"\\x41", bytes(range(256)), b"'" * 1000]


@pytest.fixture
async def things(database: Database) -> Database:
    """A database with a table that has a column of each type."""
    table = "CREATE TABLE thing (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT UNIQUE, i INTEGER, b BLOB) STRICT"
    await database.write(lambda tx: schema._define(tx, table))
    return database


def put(tx: Transaction, **values: Value) -> None:
    all_values: dict[str, Value] = {"t": None, "i": None, "b": None} | values
    tx.run("INSERT INTO thing (t, i, b) VALUES (:t, :i, :b)", **all_values)


def put_all(name: str, values: list[Value]) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        for value in values:
            put(tx, **{name: value})

    return work


@pytest.mark.parametrize(("column", "values"), [("t", TEXTS), ("i", NUMBERS), ("b", CONTENTS)])
async def test_values_come_back(things: Database, column: str, values: list[Value]) -> None:
    """Each is found by itself and read as what it was, and of the same type."""
    await things.write(put_all(column, values))
    assert [row[0] for row in await rows(things, f"SELECT {column} FROM thing ORDER BY id")] == values
    for value in values:
        found = await rows(things, f"SELECT {column} FROM thing WHERE {column} = :value", value=value)
        assert found == [(value,)]
        assert type(found[0][0]) is type(value)


async def test_texts_in_statements_are_texts(things: Database) -> None:
    """What looks like a parameter or a place for one is none inside of a text."""

    def work(tx: Transaction) -> Row:
        return tx.only("SELECT '100%', '%s', ':', 'a: b', '1:x', :x || ':' || :y, '%(x)s'", x="l", y="r")

    assert await things.read(work) == ("100%", "%s", ":", "a: b", "1:x", "l:r", "%(x)s")


async def test_sums_and_counts_are_whole_numbers(things: Database) -> None:
    """Whatever a database calls their type."""
    await things.write(put_all("i", [2**40, 2**41, 5]))
    found = await rows(things, "SELECT sum(i), count(*), max(i), coalesce(sum(i), 0) FROM thing")
    assert found == [(2**40 + 2**41 + 5, 3, 2**41, 2**40 + 2**41 + 5)]
    assert {type(value) for value in found[0]} == {int}


@pytest.mark.input(132)
async def test_texts_are_sorted_by_bytes(things: Database) -> None:
    """Neither the place where it runs nor the case of letters changes the order."""
    values = ["a", "A", "a.1", "a-1", "a_1", "a1", "10", "9", "b", "B", "ä", "z", "~", "😀", "￿"]
    await things.write(put_all("t", list(values)))
    found = [row[0] for row in await rows(things, "SELECT t FROM thing ORDER BY t")]
    assert found == sorted(values, key=str.encode)
    for value in values:
        after = await rows(things, "SELECT count(*) FROM thing WHERE t > :t", t=value)
        assert after == [(len([each for each in values if each.encode() > value.encode()]),)]
    assert await rows(things, "SELECT max(t), min(t) FROM thing") == [("😀", "10")]


async def test_case_counts(database: Database) -> None:
    """Names that differ by it are two."""

    def work(tx: Transaction) -> list[str]:
        for name in ("Ada", "ada", "ADA"):
            assert identities.insert(tx, Identity(0, Kind.GROUP, name), DEED)
        assert identities.insert(tx, Identity(0, Kind.GROUP, "ada"), DEED) is None
        return [each.name for each in identities.list_kind(tx, Kind.GROUP)]

    assert await database.write(work) == ["ADA", "Ada", "ada"]


def test_nothing_is_compared_by_pattern() -> None:
    """LIKE knows no case in SQLite, and does in PostgreSQL."""
    assert not [one.place for one in find_statements() if one.text and " LIKE " in one.text]


async def test_null_is_not_unique(things: Database) -> None:
    """Any number of rows may lack what would have to be unique; NULL equals nothing, and is told from what is there."""
    await things.write(put_all("t", [None, None, "x"]))
    assert await rows(things, "SELECT count(*) FROM thing WHERE t = :t", t=None) == [(0,)]
    assert await rows(things, "SELECT count(*) FROM thing WHERE t IS DISTINCT FROM :t", t="x") == [(2,)]
    assert await rows(things, "SELECT count(*) FROM thing WHERE t IS DISTINCT FROM :t", t=None) == [(1,)]
    with pytest.raises((apsw.ConstraintError, psycopg.IntegrityError)):
        await things.write(lambda tx: put(tx, t="x"))


@pytest.mark.parametrize("values", [{"i": "five"}, {"i": b"5"}, {"b": 5}])
async def test_types_are_kept(things: Database, values: dict[str, Value]) -> None:
    """A column takes no value of another type that it could not give back."""
    with pytest.raises((apsw.ConstraintError, psycopg.Error)):
        await things.write(lambda tx: put(tx, **values))
    assert await rows(things, "SELECT * FROM thing") == []


async def test_numbers_that_are_too_large(things: Database) -> None:
    """They do not come in."""
    for number in (2**63, -(2**63) - 1, 10**40):
        with pytest.raises((OverflowError, psycopg.DataError)):
            await things.write(put_all("i", [number]))
    assert await rows(things, "SELECT * FROM thing") == []


async def test_texts_with_nul_find_nothing(database: Database) -> None:
    """A stranger may ask for anything: no name has a NUL, and a page begins behind it as for any other character."""

    def work(tx: Transaction) -> None:
        for name in ("a", "a/b", "ab"):
            insert_repository(tx, name)
        assert identities.find(tx, "a\0") is None
        listed = manifests.list_referrers(tx, RepositoryName("a"), Digest.of(b"x"), "application/\0", "")
        assert list(listed) == []
        names = [name.value for name in repositories.list_names(tx, "a\0", 10)]
        assert names == ["a/b", "ab"]
        changes.append_access(tx, DEED, "login.refuse", subject="a\0b", detail="\0")

    await database.write(work)
    found = await rows(database, "SELECT subject FROM change WHERE action = 'login.refuse'")
    assert found[0][0] in {"a\0b", "a\1b"}


async def test_flags_and_truth(things: Database) -> None:
    """A Python bool is a truth value in SQL, and a truth value of SQL is one in Python."""
    await things.write(put_all("i", [1, None]))
    for wanted in (True, False):
        found = await rows(things, "SELECT i IS NULL, i FROM thing WHERE (i IS NULL) = :wanted", wanted=wanted)
        assert [bool(row[0]) for row in found] == [wanted]
    found = await rows(things, "SELECT CASE WHEN :yes THEN 1 WHEN NOT :yes THEN 2 ELSE 3 END", yes=None)
    assert found == [(3,)]


async def test_ids_go_on_after_a_failure(things: Database) -> None:
    """An id that was given in a transaction that failed may be left out, and is never given twice."""

    def fail(tx: Transaction) -> None:
        put(tx, i=1)
        raise RuntimeError

    await things.write(put_all("i", [1]))
    with pytest.raises(RuntimeError):
        await things.write(fail)
    await things.write(put_all("i", [2]))
    ids = [row[0] for row in await rows(things, "SELECT id FROM thing ORDER BY id")]
    assert ids == sorted(set(ids))
