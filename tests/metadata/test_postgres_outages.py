"""PostgreSQL that is lost half-way, or not there, or full: nothing that was acknowledged is missing, and on it goes."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest

from registry.errors import Unavailable
from registry.metadata.database import Transaction
from registry.metadata.postgres import PostgresDatabase
from tests.metadata.held_writer import WAIT
from tests.metadata.numbers import insert, read_numbers, through
from tests.metadata.rows import insert_repository, rows
from tests.servers.postgres import PostgresServer, drop_database, fresh_database
from tests.servers.proxy import TcpProxy
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One to be stopped, killed and frozen."""
    running = PostgresServer()
    yield running
    running.remove()


async def test_commit_whose_answer_is_lost(url: str, proxy: TcpProxy) -> None:
    """The server has committed, and nobody heard of it: the write is found to be done, and is not done again."""
    database = PostgresDatabase(through(proxy, url))
    await database.write(insert(1))
    proxy.lose_answer(b"COMMIT")
    assert await database.write(insert(2)) == 2
    assert proxy.is_lost.is_set()
    assert await read_numbers(database) == [1, 2]
    database.close()


async def test_commit_that_never_arrives(url: str, proxy: TcpProxy) -> None:
    """The server has not heard that it is to commit: the write is undone there, and done again."""
    cuts: list[str] = []

    def reach(point: str) -> None:
        if point == "transaction.applied" and not cuts:
            cuts.append(point)
            proxy.cut()

    database = PostgresDatabase(through(proxy, url), reach=reach)
    assert await database.write(insert(1)) == 1
    assert cuts
    assert await read_numbers(database) == [1]
    database.close()


async def test_server_that_has_not_noticed_the_end(url: str, proxy: TcpProxy) -> None:
    """While the lost transaction is still open at the server it is ended there, and the write is done again."""
    frozen: list[int] = []

    def reach(point: str) -> None:
        if point == "transaction.applied" and not frozen:
            with psycopg.connect(url) as watching:
                found = watching.execute(
                    "SELECT pid FROM pg_stat_activity"
                    " WHERE state = 'idle in transaction' AND datname = current_database()"
                ).fetchone()
                assert found
            frozen.append(found[0])
            os.kill(found[0], signal.SIGSTOP)
            threading.Timer(1, os.kill, (found[0], signal.SIGCONT)).start()
            proxy.cut()

    database = PostgresDatabase(through(proxy, url), reach=reach)
    runs = []

    def work(tx: Transaction) -> int:
        runs.append(1)
        return insert(1)(tx)

    assert await database.write(work) == 1
    assert frozen
    assert len(runs) == 2
    assert await read_numbers(database) == [1]
    database.close()


async def test_connection_lost_in_the_middle(url: str, proxy: TcpProxy) -> None:
    """A read, or a write that was not to be committed yet, is done once more on a new connection."""
    database = PostgresDatabase(through(proxy, url))
    cuts: list[int] = []

    def work(tx: Transaction) -> int:
        count = tx.only("SELECT count(*) FROM number")[0]
        if len(cuts) < 2 and count == len(cuts):
            cuts.append(count)
            proxy.cut()
        return int(tx.only("SELECT count(*) FROM number")[0])

    assert await database.read(work) == 0
    await database.write(insert(1))
    assert await database.write(work) == 1
    assert cuts == [0, 1]
    database.close()


async def test_connections_that_died_while_idle(url: str, proxy: TcpProxy) -> None:
    """Nobody notices that the server had been started again in between."""
    database = PostgresDatabase(through(proxy, url))
    await asyncio.gather(*(database.write(insert(number)) for number in range(5)))
    proxy.cut()
    await asyncio.gather(*(database.write(insert(number)) for number in range(5, 10)))
    assert await read_numbers(database) == list(range(10))
    database.close()


async def test_server_that_is_gone_for_a_while(server: PostgresServer) -> None:
    """Without the server everything is refused with the time to come back, and goes on by itself when it is there."""
    database = PostgresDatabase(fresh_database(server))
    assert await database.write(insert_repository) == 1
    server.stop()
    for attempt in (database.write(insert_repository), database.read(insert_repository)):
        with pytest.raises(Unavailable) as found:
            await attempt
        assert found.value.headers["Retry-After"]
    with pytest.raises(Unavailable):
        PostgresDatabase(server.url("postgres"))
    server.start()
    assert await until_it_works(database) == 1
    database.close()


async def until_it_works(database: PostgresDatabase) -> int:
    async with asyncio.timeout(WAIT):
        while True:
            try:
                return await database.write(insert_repository)
            except Unavailable:
                await asyncio.sleep(0.05)  # the interval of the poll


async def test_kill_of_the_server_loses_nothing(server: PostgresServer) -> None:
    """What was acknowledged before the server was killed is there when it has recovered, each once."""
    url = fresh_database(server)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE number (n BIGINT)")
    database = PostgresDatabase(url)
    done: list[int] = []
    is_enough, is_over = asyncio.Event(), asyncio.Event()

    async def write(start: int) -> None:
        number = start
        while not is_over.is_set():
            try:
                done.append(await database.write(insert(number)))
            except Unavailable:
                await asyncio.sleep(0.05)  # the interval of the poll
            number += 1
            if len(done) > 50:
                is_enough.set()

    writing = asyncio.gather(*(write(1_000_000 * number) for number in range(4)))
    await asyncio.wait_for(is_enough.wait(), WAIT)
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    await asyncio.to_thread(server.start)
    await until_it_works(database)
    is_over.set()
    await writing
    found = await read_numbers(database)
    assert set(done) <= set(found)
    assert len(set(found)) == len(found)
    assert len(found) <= len(done) + 4
    database.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_server_that_ends_while_it_commits(server: PostgresServer, how: signal.Signals) -> None:
    """The server is asked when it is back, while the writer waits; one that was killed does not know for certain."""
    url = fresh_database(server)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE number (n BIGINT)")
    with TcpProxy(server.port) as proxy:
        database = PostgresDatabase(through(proxy, url))
        proxy.lose_answer(b"COMMIT", and_refuse=True)
        writing = asyncio.ensure_future(database.write(insert(1)))
        assert await asyncio.to_thread(proxy.is_lost.wait, WAIT)
        await asyncio.to_thread(server.stop, how)
        await asyncio.to_thread(server.start)
        proxy.heal()
        if how is signal.SIGKILL:
            with pytest.raises(Unavailable, match="perhaps it is done"):
                await writing
        else:
            assert await writing == 1
        assert await read_numbers(database) == [1]
        database.close()


async def test_frozen_server_is_given_up(server: PostgresServer) -> None:
    """Whoever waits for a server that says nothing is refused in the end, and it is used again when it goes on."""
    database = PostgresDatabase(fresh_database(server))

    def work(tx: Transaction) -> int:
        tx._connection.patience = 0.5  # type: ignore[attr-defined]
        insert_repository(tx, "before")
        server.freeze(is_frozen=True)
        return insert_repository(tx, "after")

    try:
        with pytest.raises(Unavailable):
            await database.write(work)
    finally:
        server.freeze(is_frozen=False)
    assert await until_it_works(database)
    assert await rows(database, "SELECT name FROM repository") == [("a",)]
    database.close()


async def test_server_that_takes_no_writes(url: str) -> None:
    """Reads are served, writes are refused with the time to come back, until they are taken again."""
    await set_read_only(url, "on")
    database = PostgresDatabase(url)
    assert await read_numbers(database) == []
    with pytest.raises(Unavailable, match="read-only"):
        await database.write(insert(1))
    await set_read_only(url, "off")
    assert await database.write(insert(1)) == 1
    database.close()


async def set_read_only(url: str, value: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("BEGIN READ WRITE")
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}'.encode())


async def test_too_many_connections(url: str) -> None:
    """Where the server takes no more of them it is as if it was not there."""
    few = psycopg.conninfo.make_conninfo(url, user="few")
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, dbname="postgres", autocommit=True) as outside:  # one that does not count
        outside.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 1'.encode())
        outside.execute("DROP ROLE IF EXISTS few; CREATE ROLE few LOGIN")

        def is_left() -> bool:
            """The server needs a moment to notice the end of a connection."""
            count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            return outside.execute(count, [name]).fetchone() == (0,)

        wait_until(is_left, "those who made the database are gone")
        with psycopg.connect(few), pytest.raises(Unavailable, match="too many connections"):
            PostgresDatabase(few)
        wait_until(is_left, "the only one is gone")
        PostgresDatabase(few).close()


async def test_statement_that_takes_too_long(numbers: PostgresDatabase) -> None:
    """It is ended by the server; the connection is used again."""

    def work(tx: Transaction) -> None:
        insert(1)(tx)
        tx.run("SET LOCAL statement_timeout = '50ms'")
        tx.run("SELECT pg_sleep(60)")

    with pytest.raises(Unavailable, match="statement timeout"):
        await numbers.write(work)
    assert await numbers.write(insert(2)) == 2
    assert await read_numbers(numbers) == [2]


async def test_every_connection_gives_up_some_time(numbers: PostgresDatabase) -> None:
    """Neither a slow statement nor a client that has gone away holds up the others for ever."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        found = await rows(numbers, f"SELECT current_setting('{name}')")
        assert found[0][0] in {"30s", "1min"}


async def test_database_that_is_gone(url: str) -> None:
    """A database that does not exist, or no more, is Unavailable."""
    database = PostgresDatabase(url)
    drop_database(url)
    with pytest.raises(Unavailable, match="does not exist"):
        await database.read(insert_repository)
    with pytest.raises(Unavailable, match="does not exist"):
        PostgresDatabase(url)
    database.close()


@pytest.mark.parametrize(
    "wrong", ["postgresql://host:port:port/", "postgresql://127.0.0.1:1/entrepot?connect_timeout=2"]
)
def test_url_that_leads_nowhere(wrong: str) -> None:
    """It is Unavailable, whether it cannot be read or nobody listens there."""
    with pytest.raises(Unavailable):
        PostgresDatabase(wrong)


async def test_database_in_another_encoding(url: str) -> None:
    """Names are UTF-8: any other encoding is refused when the database is opened."""
    name = f"latin_{url[-8:]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".encode())
    with pytest.raises(Unavailable, match="LATIN1"):
        PostgresDatabase(psycopg.conninfo.make_conninfo(url, dbname=name))
    drop_database(f"{url.rpartition('/')[0]}/{name}")
