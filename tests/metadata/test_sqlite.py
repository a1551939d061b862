"""The database: groups of writes, what fails and what that undoes, what readers see, how it is closed."""

import asyncio
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from registry.errors import NameUnknown, StorageFull, Unavailable
from registry.metadata.database import Transaction
from registry.metadata.sqlite import SqliteDatabase
from tests.metadata.held_writer import WAIT, HeldWriter, turns
from tests.metadata.rows import rows

pytestmark = pytest.mark.anyio


@pytest.fixture
async def numbers(embedded: SqliteDatabase) -> SqliteDatabase:
    """A database with a table for one number a row."""
    await embedded.write(lambda tx: tx.run("CREATE TABLE number (n INTEGER PRIMARY KEY, many BLOB) STRICT"))
    return embedded


def insert(number: int) -> Callable[[Transaction], int]:
    def work(tx: Transaction) -> int:
        tx.run("INSERT INTO number (n) VALUES (:n)", n=number)
        return number

    return work


async def read_numbers(database: SqliteDatabase) -> list[int]:
    return [row[0] for row in await rows(database, "SELECT n FROM number ORDER BY n")]


async def test_write_returns_what_its_work_returns(numbers: SqliteDatabase) -> None:
    """The result of the work comes out, and what it wrote can be read at once."""
    assert await numbers.write(insert(7)) == 7
    assert await read_numbers(numbers) == [7]


async def test_waiting_writes_are_committed_together(tmp_path: Path) -> None:
    """However many writes wait, one commit makes them all durable, in their order, before any is answered."""
    reached: list[str] = []
    database = SqliteDatabase(tmp_path / "entrepot.db", reach=reached.append)
    await database.write(lambda tx: tx.run("CREATE TABLE number (n INTEGER PRIMARY KEY, many BLOB) STRICT"))
    held = HeldWriter(database)
    await held.begun()
    reached.clear()
    order: list[int] = []

    def work(number: int) -> Callable[[Transaction], int]:
        def insert_in_order(tx: Transaction) -> int:
            order.append(number)
            return insert(number)(tx)

        return insert_in_order

    writes = asyncio.gather(*(database.write(work(number)) for number in range(200)))
    await turns()
    held.release()
    assert await writes == order == list(range(200))
    assert reached == ["transaction.applied", "transaction.committed"] * 2
    database.close()


async def test_failing_work_undoes_only_itself(numbers: SqliteDatabase) -> None:
    """Of the writes of one commit, one that raises is undone, its exception comes out, and the others stay."""
    held = HeldWriter(numbers)
    await held.begun()

    def fail(number: int, problem: Exception) -> Callable[[Transaction], int]:
        def work(tx: Transaction) -> int:
            insert(number)(tx)
            raise problem

        return work

    problems = [NameUnknown("one"), ValueError("a bug"), NameUnknown("two")]
    writes = [
        insert(1),
        fail(2, problems[0]),
        insert(3),
        fail(4, problems[1]),
        fail(5, problems[2]),
        insert(1),
        insert(6),
    ]
    answers = asyncio.gather(*map(numbers.write, writes), return_exceptions=True)
    await turns()
    held.release()
    found = await answers
    assert [found[0], found[2], found[6]] == [1, 3, 6]
    assert [found[1], found[3], found[4]] == problems
    assert isinstance(found[5], apsw.ConstraintError)
    assert await read_numbers(numbers) == [1, 3, 6]


async def test_failing_commit_is_told_to_whom_it_concerns(numbers: SqliteDatabase) -> None:
    """When the commit of a group fails, the write that is to blame hears it, and the others are done without it."""
    await numbers.write(
        lambda tx: tx.run("CREATE TABLE child (n INTEGER REFERENCES number DEFERRABLE INITIALLY DEFERRED)")
    )
    held = HeldWriter(numbers)
    await held.begun()
    writes = [insert(1), lambda tx: tx.run("INSERT INTO child VALUES (99)"), insert(2)]
    answers = asyncio.gather(*(numbers.write(work) for work in writes), return_exceptions=True)
    await turns()
    held.release()
    found = await answers
    assert [found[0], type(found[1]), found[2]] == [1, apsw.ConstraintError, 2]
    assert await read_numbers(numbers) == [1, 2]
    assert await numbers.write(insert(3)) == 3


async def test_full_disk_is_told_to_whom_it_concerns(numbers: SqliteDatabase) -> None:
    """A write that the disk has no room for hears it; the small ones beside it, and later ones, are done."""
    pages = (await rows(numbers, "PRAGMA page_count"))[0][0]
    await numbers.write(lambda tx: tx.run(f"PRAGMA max_page_count = {pages + 5}"))
    held = HeldWriter(numbers)
    await held.begun()

    def insert_much(tx: Transaction) -> int:
        tx.run("INSERT INTO number (n, many) VALUES (2, :many)", many=bytes(1 << 20))
        return 2

    answers = asyncio.gather(*map(numbers.write, [insert(1), insert_much, insert(3)]), return_exceptions=True)
    await turns()
    held.release()
    found = await answers
    assert [found[0], type(found[1]), found[2]] == [1, StorageFull, 3]
    assert await read_numbers(numbers) == [1, 3]
    assert await numbers.write(insert(4)) == 4


async def test_additions_leave_the_reserve(tmp_path: Path) -> None:
    """Where only the reserve is left, what a push adds is refused before it begins, and all other writes are done."""
    database = SqliteDatabase(tmp_path / "entrepot.db", reserve=1 << 62)
    await database.write(lambda tx: tx.run("CREATE TABLE number (n INTEGER PRIMARY KEY, many BLOB) STRICT"))
    held = HeldWriter(database)
    await held.begun()
    writes = [database.write(insert(1)), database.write(insert(2), adds=True), database.write(insert(3))]
    answers = asyncio.gather(*writes, return_exceptions=True)
    await turns()
    held.release()
    found = await answers
    assert [found[0], type(found[1]), found[2]] == [1, StorageFull, 3]
    assert await read_numbers(database) == [1, 3]
    database.close()


async def test_additions_are_done_where_there_is_room(tmp_path: Path) -> None:
    """With more than the reserve free, what a push adds is written."""
    database = SqliteDatabase(tmp_path / "entrepot.db", reserve=1)
    await database.write(lambda tx: tx.run("CREATE TABLE number (n INTEGER PRIMARY KEY, many BLOB) STRICT"))
    assert await database.write(insert(2), adds=True) == 2
    database.close()


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
async def test_pragmas_are_set(embedded: SqliteDatabase, pragma: str, value: object) -> None:
    """Both connections have what durability and foreign keys need; SQLite says nothing when it ignores one."""
    assert await rows(embedded, f"PRAGMA {pragma}") == [(value,)]
    assert await embedded.write(lambda tx: tx.run(f"PRAGMA {pragma}")) == [(value,)]


async def test_readers_see_what_is_committed(numbers: SqliteDatabase) -> None:
    """A write that is not committed is invisible; committed, it is visible at once."""
    held = HeldWriter(numbers, insert(1))
    await held.begun()
    assert await read_numbers(numbers) == []
    held.release()
    await held.ended
    assert await read_numbers(numbers) == [1]


async def test_read_is_one_snapshot(numbers: SqliteDatabase) -> None:
    """What is committed while a read runs is not seen by it."""
    is_committed = threading.Event()

    def write_elsewhere() -> None:
        other = apsw.Connection(str(numbers._writer.filename))
        other.execute("INSERT INTO number (n) VALUES (1)")
        other.close()
        is_committed.set()

    def work(tx: Transaction) -> list[int]:
        before = len(tx.run("SELECT n FROM number"))
        threading.Thread(target=write_elsewhere).start()
        assert is_committed.wait(WAIT)
        return [before, len(tx.run("SELECT n FROM number"))]

    assert await numbers.read(work) == [0, 0]
    assert await read_numbers(numbers) == [1]


async def test_failed_read_leaves_the_reader_usable(numbers: SqliteDatabase) -> None:
    """What a read raises comes out, and the next read works."""

    def fail(_tx: Transaction) -> None:
        raise NameUnknown("a")

    with pytest.raises(NameUnknown):
        await numbers.read(fail)
    assert await read_numbers(numbers) == []


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
async def test_damaged_database_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that is no database, or a damaged one, is Unavailable with a message that says so."""
    path = tmp_path / "entrepot.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="damaged"):
        SqliteDatabase(path)
    assert path.read_bytes() == content


async def test_database_where_none_can_be(tmp_path: Path) -> None:
    """A folder that is not there is Unavailable."""
    with pytest.raises(Unavailable):
        SqliteDatabase(tmp_path / "absent" / "entrepot.db")


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_the_file_is_private(tmp_path: Path) -> None:
    """Only its owner reads the database and what SQLite puts beside it, also one that was made more open."""
    path = tmp_path / "private.db"
    for mode in (None, 0o644):
        if mode is not None:
            path.chmod(mode)
        database = SqliteDatabase(path)
        await database.write(lambda tx: tx.run("CREATE TABLE IF NOT EXISTS t (x TEXT) STRICT"))
        assert modes(tmp_path) == dict.fromkeys(("private.db", "private.db-wal", "private.db-shm"), 0o600)
        database.close()
