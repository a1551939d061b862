"""What only PostgreSQL does: writes that meet, and the server's clock."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import psycopg
import pytest

from registry.errors import NameUnknown, Unavailable
from registry.metadata import policies, schema
from registry.metadata.database import Transaction
from registry.metadata.postgres import PostgresDatabase
from registry.metadata.server_clock import ServerClock
from tests.metadata.held_writer import WAIT, HeldWriter
from tests.metadata.locks import is_any_waiting
from tests.metadata.numbers import insert, read_numbers
from tests.metadata.rows import DEED, insert_repository, rows
from tests.servers.postgres import fresh_database
from tests.waiting import come_true

pytestmark = pytest.mark.anyio

POLICY = (
    '{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan",'
    ' "countNumber": 1}, "action": {"type": "expire"}}]}'
)


class Together:
    """Two pieces of work that wait for each other in the middle, when they are done for the first time."""

    def __init__(self) -> None:
        self.runs = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(2)

    def meet(self) -> None:
        with self._lock:
            self.runs += 1
            is_first = self.runs <= 2
        if is_first:
            self._barrier.wait(WAIT)


async def test_what_is_not_as_if_in_turn_is_done_again(numbers: PostgresDatabase) -> None:
    """Of two writes that each decide by what the other changes, one is run again and sees the other."""
    together = Together()

    def count_and_add(tx: Transaction) -> int:
        count = int(tx.only("SELECT count(*) FROM number")[0])
        together.meet()
        return insert(count)(tx)

    assert sorted(await asyncio.gather(*(numbers.write(count_and_add) for _ in range(2)))) == [0, 1]
    assert await read_numbers(numbers) == [0, 1]
    assert together.runs == 3


async def test_deadlock_is_done_again(numbers: PostgresDatabase) -> None:
    """Of two writes that wait for each other, one is run again when the other is done."""
    for number in (1, 2):
        await numbers.write(insert(number))
    together = Together()

    def change(first: int, second: int) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            tx.run("UPDATE number SET n = n + 10 WHERE id = :id", id=first)
            together.meet()
            tx.run("UPDATE number SET n = n + 10 WHERE id = :id", id=second)

        return work

    await asyncio.gather(numbers.write(change(1, 2)), numbers.write(change(2, 1)))
    assert await read_numbers(numbers) == [21, 22]
    assert together.runs == 3


async def test_who_always_loses_is_left_alone(numbers: PostgresDatabase, url: str) -> None:
    """A write that has failed three times is done while no other writes, so that it always comes to its end."""
    await numbers.write(insert(0))
    runs: list[bool] = []

    def work(tx: Transaction) -> None:
        number = tx.only("SELECT n FROM number")[0]
        runs.append(rival_writes(url))
        tx.run("UPDATE number SET n = :n", n=number + 1000)

    await numbers.write(work)
    assert runs == [True, True, True, False]
    assert await read_numbers(numbers) == [1003]


def rival_writes(url: str) -> bool:
    """What another server does meanwhile. False when it has to wait."""
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            connection.execute(
                "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL lock_timeout = '100ms';"
                " LOCK TABLE migration IN ROW SHARE MODE; UPDATE number SET n = n + 1; COMMIT"
            )
        except psycopg.errors.LockNotAvailable:
            return False
    return True


async def test_violation_that_is_no_race_comes_out(numbers: PostgresDatabase) -> None:
    """What the constraints refuse is tried once more, alone, and then is the caller's problem; nothing of it stays."""
    runs: list[int] = []

    def work(tx: Transaction) -> None:
        runs.append(insert(len(runs))(tx))
        for _ in range(2):
            tx.run("INSERT INTO repository (name, created_at, created_by, cause) VALUES ('a', 1, 'x', 'push')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await numbers.write(work)
    assert runs == [0, 1]
    assert await read_numbers(numbers) == []


async def test_late_wish_to_be_alone(numbers: PostgresDatabase) -> None:
    """Work that finds out in its middle that it must be alone is run again, and is."""
    runs = []

    def work(tx: Transaction) -> int:
        runs.append(tx.only("SELECT count(*) FROM number")[0])
        tx.alone()
        return insert(1)(tx)

    held = HeldWriter(numbers, insert(0))
    await held.begun()
    late = asyncio.ensure_future(numbers.write(work))
    await held.waited_for()
    held.release()
    assert await late == 1
    assert runs[-1] == 1
    assert await read_numbers(numbers) == [0, 1]


async def test_file_number_is_the_databases(url: str) -> None:
    """It is the same each time, another one in another database, and SQLite can keep it."""
    found = []
    for each in (url, url, fresh_database()):
        database = PostgresDatabase(each, connections=2)
        found.append(database.file_number)
        database.close()
    assert found[0] == found[1] != found[2]
    assert all(0 < number < 1 << 63 for number in found)


async def test_clock_is_the_servers(numbers: PostgresDatabase) -> None:
    """What the clock says without asking is what the transaction's says, to some milliseconds."""
    for _ in range(3):
        before = numbers.clock()
        at = await numbers.read(lambda tx: tx.now())
        assert before - 50 <= at <= numbers.clock() + 50
    instants = await numbers.write(lambda tx: [tx.now(), tx.now()])
    assert instants == sorted(instants)


def test_clock_goes_with_the_server() -> None:
    """The first answer is believed; a later one only as far as it says more than is known."""
    clock = ServerClock()
    assert clock.is_old()
    clock.note(1_000_000, time.monotonic())
    assert not clock.is_old()
    assert abs(clock() - 1_000_000) < 50
    clock.note(2_000_000, time.monotonic())
    assert abs(clock() - 2_000_000) < 50
    clock.note(1_999_000, time.monotonic() - 60)  # it took a minute: perhaps it was said long ago
    assert abs(clock() - 2_000_000) < 50
    clock.note(2_005_000, time.monotonic() - 60)  # at the latest now
    assert abs(clock() - 2_005_000) < 50


async def test_policies_miss_no_change_that_comes_late(numbers: PostgresDatabase) -> None:
    """Who says which changes policies know of waits for those that have a number already."""
    began, may_end = threading.Event(), threading.Event()

    def late(tx: Transaction) -> None:
        repository_id = insert_repository(tx, "late")
        policies.put(tx, repository_id, POLICY, DEED)
        tx.run("UPDATE policy SET due_at = NULL")
        began.set()
        assert may_end.wait(WAIT)

    await numbers.write(lambda tx: schema.get_or_make_instance(tx, "instance", "000000000001", 1))
    writing = asyncio.ensure_future(numbers.write(late))
    assert await asyncio.to_thread(began.wait, WAIT)
    await numbers.write(lambda tx: insert_repository(tx, "early"))
    transferring = asyncio.ensure_future(numbers.write(lambda tx: policies.transfer_changes(tx, 5)))
    await come_true(partial(numbers.read, is_any_waiting), "it waits for the change that has a number")
    may_end.set()
    await writing
    await transferring
    assert await rows(numbers, "SELECT due_at FROM policy") == [(5,)]


async def test_reads_go_on_beside_a_writer(numbers: PostgresDatabase) -> None:
    """A write that is not committed is invisible, and holds up no read."""
    held = HeldWriter(numbers, insert(1))
    await held.begun()
    assert await read_numbers(numbers) == []
    held.release()
    await held.ended
    assert await read_numbers(numbers) == [1]


async def test_read_is_one_snapshot(numbers: PostgresDatabase, url: str) -> None:
    """What is committed while a read runs is not seen by it, whichever way it reads."""

    def work(tx: Transaction) -> list[int]:
        before = len(tx.run("SELECT n FROM number"))
        with psycopg.connect(url) as other:
            other.execute("INSERT INTO number (n) VALUES (1)")
        return [before, len(tx.run("SELECT n FROM number")), len(list(tx.each("SELECT n FROM number")))]

    assert await numbers.read(work) == [0, 0, 0]
    assert await read_numbers(numbers) == [1]


async def test_read_that_writes_is_refused(numbers: PostgresDatabase) -> None:
    """It is no bug of the database's that it was asked to."""
    with pytest.raises(Unavailable, match="read-only"):
        await numbers.read(insert(1))
    assert await read_numbers(numbers) == []


async def test_failing_work_undoes_only_itself(numbers: PostgresDatabase) -> None:
    """What work raises comes out, its writes are undone, and the connection is used again."""

    def fail(tx: Transaction) -> None:
        insert(1)(tx)
        raise NameUnknown("a")

    for _ in range(20):
        with pytest.raises(NameUnknown):
            await numbers.write(fail)
        with pytest.raises(NameUnknown):
            await numbers.read(lambda _: fail_at_once())
    assert await numbers.write(insert(2)) == 2
    assert await read_numbers(numbers) == [2]


def fail_at_once() -> None:
    raise NameUnknown("a")


async def test_failure_that_work_passes_over(numbers: PostgresDatabase) -> None:
    """Work that goes on after a statement has failed is never taken for done."""

    def work(tx: Transaction) -> None:
        insert(1)(tx)
        try:
            tx.run("SELECT 1 / 0")
        except psycopg.DataError:
            return

    with pytest.raises(RuntimeError, match="went on"):
        await numbers.write(work)
    assert await read_numbers(numbers) == []


async def test_many_rows_one_after_the_other(numbers: PostgresDatabase) -> None:
    """However many rows there are, `each` gives them all in order, and several can be open at once."""
    many = "SELECT i FROM generate_series(1, :count) AS i ORDER BY i"

    def work(tx: Transaction) -> None:
        for count in (0, 1, 99, 100, 101, 5_000):
            assert [row[0] for row in tx.each(many, count=count)] == list(range(1, count + 1))
        pairs = zip(tx.each(many, count=300), tx.each(many, count=300), strict=True)
        assert all(left == right for left, right in pairs)
        assert next(tx.each(many, count=100_000)) == (1,)

    await numbers.read(work)
    await numbers.write(work)
