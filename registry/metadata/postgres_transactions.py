"""A transaction on a PostgreSQL connection: how it begins and ends, and how its SQL is written for psycopg."""

import re
import time
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Any

import psycopg

from registry.metadata.database import Row, Value
from registry.metadata.postgres_connections import CLOCK, Connection
from registry.metadata.server_clock import ServerClock

_PARAMETER = re.compile(r"'[^']*'|:(?P<name>[a-z_]\w*)", re.ASCII)  # or a text, which has none
_LARGE_ROWS, _FIRST_ROWS, _MORE_ROWS = 8, 100, 2_000  # of a query whose rows are read when they are asked for
_LOCK = 4_734_151_904_917_203_301  # of the first migration: there is no table to lock yet


class Begin(StrEnum):
    """What comes before a transaction's first statement, in one message with it.

    Of a transaction that locks a table the snapshot is taken after the lock; with an advisory lock it would be before,
    so that whoever had waited for the lock would fail.
    """

    READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    # It holds up nobody but a change of the schema. Of a table that was rewritten after the snapshot it would see none
    # of the rows.
    LONG_READ = READ + "LOCK TABLE migration IN ACCESS SHARE MODE; "
    WRITE = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE migration IN ROW SHARE MODE; "
    ALONE = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE migration IN EXCLUSIVE MODE; "
    # Whoever comes while a lock is waited for has to wait, too, and readers for the lock of a table. So it is soon
    # given up: before the server looks for a deadlock on its behalf (deadlock_timeout, 1 s). A reader that waits for a
    # table that is changed already may still be the victim of one, and reads again. ACCESS EXCLUSIVE, for long reads.
    CHANGE = (
        "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL lock_timeout = '500ms';"
        " LOCK TABLE migration IN ACCESS EXCLUSIVE MODE; "
    )
    # An autovacuum that is in the way is ended by whoever has waited for it for deadlock_timeout.
    INSIST = CHANGE.replace("500ms", "2s")
    # Before there is a schema. Each statement sees what is committed: also what was while the lock was waited for.
    FIRST = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({_LOCK}); "


class NotAlone(psycopg.Error):
    """The work has said too late that it must be alone: it is to be run again, and to `begin` so."""

    def __init__(self, begin: Begin) -> None:
        super().__init__()
        self.begin = begin


class PostgresTransaction:
    """A Transaction that begins with its first statement."""

    is_shared = True
    refusals: tuple[type[Exception], ...] = (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.DatatypeMismatch)

    def __init__(self, connection: Connection, begin: Begin, clock: ServerClock) -> None:
        self.begin = begin
        self.xid: str | None = None  # of a transaction that writes, since it has begun
        self._connection = connection
        self._clock = clock
        self._has_begun = False
        self._cursors = 0

    def run(self, sql: str, **parameters: Value) -> list[Row]:
        return _rows(self._send(_rewrite(sql), parameters))

    def each(self, sql: str, **parameters: Value) -> Iterator[Row]:
        """From a cursor of the server, since the caller may stop after a few."""
        return self._fetch(sql, parameters, _FIRST_ROWS, _MORE_ROWS)

    def each_large(self, sql: str, **parameters: Value) -> Iterator[Row]:
        return self._fetch(sql, parameters, _LARGE_ROWS, _LARGE_ROWS)

    def _fetch(self, sql: str, parameters: dict[str, Value], first: int, more: int) -> Iterator[Row]:
        self._cursors += 1
        name, count = f"each_{self._cursors}", first
        declare = f"DECLARE {name} NO SCROLL CURSOR FOR {_rewrite(sql)}; FETCH {count} FROM {name}"
        rows = _rows(self._send(declare, parameters))
        while rows:
            yield from rows
            if len(rows) < count:
                return
            count = more
            rows = _rows(self._send(f"FETCH {count} FROM {name}", {}))

    def one(self, sql: str, **parameters: Value) -> Row | None:
        rows = self.run(sql, **parameters)
        return rows[0] if rows else None

    def only(self, sql: str, **parameters: Value) -> Row:
        return self.run(sql, **parameters)[0]

    def now(self) -> int:
        return int(self.only(f"SELECT {CLOCK}")[0])

    def alone(self, *, gives_way: bool = False, briefly: bool = False) -> None:
        begin = Begin.CHANGE if gives_way else Begin.ALONE
        if self.begin in (Begin.WRITE, Begin.ALONE) and self.begin is not begin:
            if self._has_begun:
                raise NotAlone(begin)
            self.begin = begin
        if briefly:
            self.run("SELECT 1")  # the lock comes with the first statement
            return
        self.run("SET LOCAL statement_timeout = 0")  # a migration may have to read a large table
        self._connection.patience = 3_600

    def keep_schema(self) -> None:
        if self._has_begun:
            raise RuntimeError("the transaction has a snapshot already")
        if self.begin is Begin.READ:
            self.begin = Begin.LONG_READ

    def commit(self) -> None:
        """Raises psycopg.Error; when the connection is closed then, nobody knows whether it was committed."""
        if self._has_begun and self._connection.execute("COMMIT").statusmessage != "COMMIT":
            raise RuntimeError("a statement of the transaction had failed, and its work went on")

    def _send(self, text: str, parameters: dict[str, Value]) -> psycopg.Cursor[Row]:
        cursor = self._connection.cursor()
        prefix = self._prefix()
        self._has_begun = True
        asked = time.monotonic()
        try:
            cursor.execute(prefix + text, parameters)
        except psycopg.DataError:
            cleaned = {name: _clean(value) for name, value in parameters.items()}
            if cleaned == parameters:
                raise
            cursor.execute(prefix + text, cleaned)  # nothing has been sent yet
        if prefix:
            self._note_begin(cursor.set_result(prefix.count(";") - 1), asked)
        return cursor.set_result(-1)

    def _prefix(self) -> str:
        if self._has_begun:
            return ""
        if self.begin in (Begin.READ, Begin.LONG_READ):
            return self.begin + (f"SELECT NULL, {CLOCK}; " if self._clock.is_old() else "")
        return self.begin + f"SELECT CAST(pg_current_xact_id() AS TEXT), {CLOCK}; "

    def _note_begin(self, cursor: psycopg.Cursor[Any], asked: float) -> None:
        """What the server has said before it came to the first statement."""
        row = cursor.fetchone() if cursor.description else None
        if row is not None:
            self.xid = row[0]
            self._clock.note(row[1], asked)


def _rows(cursor: psycopg.Cursor[Row]) -> list[Row]:
    return cursor.fetchall() if cursor.description else []


def _clean(value: Value) -> Value:
    """PostgreSQL has no NUL in texts, and no name may have one: what is asked for is sorted like its neighbour."""
    return value.replace("\0", "\1") if isinstance(value, str) else value


@lru_cache(maxsize=2_000)
def _rewrite(sql: str) -> str:
    """As psycopg wants its parameters."""
    return _PARAMETER.sub(lambda found: f"%({found['name']})s" if found["name"] else found[0], sql.replace("%", "%%"))
