"""What becomes of writes whose caller, event loop or database goes away: the same on every database."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from registry.errors import NameUnknown, Unavailable
from registry.metadata import schema
from registry.metadata.database import Database, Transaction
from registry.metadata.postgres import PostgresDatabase
from registry.metadata.sqlite import SqliteDatabase
from tests.metadata.held_writer import WAIT, HeldWriter, turns
from tests.metadata.numbers import insert, read_numbers
from tests.places import DatabaseKind
from tests.servers.postgres import fresh_database
from tests.waiting import come_true

pytestmark = pytest.mark.anyio

Open = Callable[[], Database]


def define(tx: Transaction) -> None:
    schema._define(tx, "CREATE TABLE number (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL) STRICT")


@pytest.fixture
def open_again(kind: DatabaseKind, tmp_path: Path) -> Open:
    """The same database each time."""
    if kind == "sqlite":
        return lambda: SqliteDatabase(tmp_path / "entrepot.db")
    url = fresh_database()
    return lambda: PostgresDatabase(url, connections=4)


@pytest.fixture
async def numbers(open_again: Open) -> AsyncIterator[Database]:
    database = open_again()
    await database.write(define)
    yield database
    database.close()


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_write_ends_when_it_is_done(numbers: Database, times: int) -> None:
    """Whoever waits for a write may go away: the write is done all the same, and the wait ends after it, not before."""
    held = HeldWriter(numbers)
    await held.begun()
    write = asyncio.ensure_future(numbers.write(insert(1)))
    await held.waited_for()
    for _ in range(times):
        write.cancel()
        await turns()
        assert not write.done()
    held.release()
    with pytest.raises(asyncio.CancelledError):
        await write
    assert await read_numbers(numbers) == [1]


async def test_cancelled_write_keeps_its_failure_to_itself(numbers: Database) -> None:
    """A write that is cancelled and fails besides is cancelled, and undone; the others beside it are done."""

    def fail(tx: Transaction) -> None:
        insert(1)(tx)
        raise NameUnknown("a")

    held = HeldWriter(numbers)
    await held.begun()
    failing = asyncio.ensure_future(numbers.write(fail))
    other = asyncio.ensure_future(numbers.write(insert(2)))
    await held.waited_for()
    failing.cancel()
    held.release()
    with pytest.raises(asyncio.CancelledError):
        await failing
    assert await other == 2
    assert await read_numbers(numbers) == [2]


async def test_close_does_what_waits(numbers: Database, open_again: Open) -> None:
    """Writes that wait when the database is closed are done and answered; later ones are refused."""

    async def is_closed() -> bool:
        return not numbers._is_open  # type: ignore[attr-defined] # both kinds have it

    held = HeldWriter(numbers)
    await held.begun()
    waiting = asyncio.gather(*(numbers.write(insert(number)) for number in range(20)))
    await held.waited_for()
    closing = asyncio.create_task(asyncio.to_thread(numbers.close))
    await come_true(is_closed, "the database takes nothing more")
    held.release()
    await closing
    assert await waiting == list(range(20))
    for refused in (numbers.write(insert(99)), numbers.read(insert(99))):
        with pytest.raises(Unavailable):
            await refused
    again = open_again()
    assert await read_numbers(again) == list(range(20))
    again.close()


def test_answer_to_a_loop_that_is_gone_is_dropped(open_again: Open) -> None:
    """A loop may end before its write is answered: the write is done, and the database is used from the next one."""
    database = open_again()
    is_gone = threading.Event()

    def work(tx: Transaction) -> int:
        assert is_gone.wait(WAIT)
        define(tx)
        return insert(1)(tx)

    loop = asyncio.new_event_loop()
    waiting = database.write(work)
    loop.call_soon(waiting.send, None)
    loop.run_until_complete(turns())
    loop.close()
    is_gone.set()
    waiting.close()

    async def come_back() -> list[int]:
        await come_true(is_done, "the first write is done")
        await database.write(insert(2))
        return await read_numbers(database)

    async def is_done() -> bool:
        return "number" in await database.read(schema._tables)

    assert asyncio.run(come_back()) == [1, 2]
    database.close()
