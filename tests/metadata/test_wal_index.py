"""The version of an embedded database: another one after each commit, whoever commits."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.errors import Unavailable
from registry.metadata.database import Transaction
from registry.metadata.sqlite import SqliteDatabase
from registry.metadata.wal_index import find_header

COMMIT = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('INSERT INTO t VALUES (1)'); c.commit()"


class Asking(SqliteDatabase):
    """On a system that does not say where the index lies."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._find_version = self._ask_version


@pytest.fixture(params=[SqliteDatabase, Asking])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SqliteDatabase]:
    kind: Callable[[Path], SqliteDatabase] = request.param
    database = kind(tmp_path / "entrepot.db")
    asyncio.run(database.write(lambda tx: tx.run("CREATE TABLE t (a)")))
    yield database
    database.close()


def commit(database: SqliteDatabase, _path: Path) -> None:
    asyncio.run(database.write(lambda tx: tx.run("INSERT INTO t VALUES (1)")))


def commit_beside(_database: SqliteDatabase, path: Path) -> None:
    other = SqliteDatabase(path)
    commit(other, path)
    other.close()


def commit_elsewhere(_database: SqliteDatabase, path: Path) -> None:
    subprocess.run([sys.executable, "-c", COMMIT, path], check=True)


def count(database: SqliteDatabase) -> int:
    def work(tx: Transaction) -> int:
        return int(tx.only("SELECT count(*) FROM t")[0])

    return asyncio.run(database.read(work))


@pytest.mark.parametrize("change", [commit, commit_beside, commit_elsewhere])
def test_each_commit_has_a_version(
    database: SqliteDatabase, tmp_path: Path, change: Callable[[SqliteDatabase, Path], None]
) -> None:
    """None of them comes again, and between commits it stands, however much is read."""
    seen = []
    for number in range(20):
        seen.append(database.version())
        assert (count(database), database.version()) == (number, seen[-1])
        change(database, tmp_path / "entrepot.db")
    assert len(set(seen)) == len(seen)


def test_a_closed_database(tmp_path: Path) -> None:
    """It has no version, and nobody looks where its index was."""
    database = SqliteDatabase(tmp_path / "entrepot.db")
    database.close()
    with pytest.raises(Unavailable):
        database.version()


def read_elsewhere(index: Path) -> bytes:
    """By another process: to close the file in this one would drop SQLite's locks."""
    return subprocess.run(["head", "-c", "96", index], check=True, stdout=subprocess.PIPE).stdout


def test_where_the_index_is(database: SqliteDatabase, tmp_path: Path) -> None:
    """It is found while the database is open; of other files and other places nothing is read."""
    index = tmp_path / "entrepot.db-shm"
    header = find_header(index)
    assert header is not None
    assert header() == read_elsewhere(index)
    commit(database, tmp_path)
    assert header() == read_elsewhere(index)
    assert find_header(tmp_path / "entrepot.db") is None
    assert find_header(tmp_path / "nothing") is None
