"""A table for one number a row: what is written and read where writes meet, and where they get lost."""

from collections.abc import Callable

import psycopg

from registry.metadata.database import Database, Transaction
from tests.metadata.rows import rows
from tests.servers.proxy import TcpProxy

Work = Callable[[Transaction], int]


def through(proxy: TcpProxy, url: str) -> str:
    return psycopg.conninfo.make_conninfo(url, host="127.0.0.1", port=proxy.port)


def insert(number: int) -> Work:
    def work(tx: Transaction) -> int:
        tx.run("INSERT INTO number (n) VALUES (:n)", n=number)
        return number

    return work


async def read_numbers(database: Database) -> list[int]:
    return [row[0] for row in await rows(database, "SELECT n FROM number ORDER BY n")]
