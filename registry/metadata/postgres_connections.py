"""Connections to PostgreSQL: how they are made, when they are given up, and what its errors mean here."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import IntLoader

from registry.errors import StorageFull, Unavailable
from registry.metadata.database import Row
from registry.metadata.server_clock import ServerClock

_OLDEST_SERVER = 140_000
STATEMENT_SECONDS = 30
_IDLE_SECONDS = 60  # of a transaction whose server has gone away without a word
_ANSWER_SECONDS = STATEMENT_SECONDS + 10  # then the server is frozen, or cut off
_PAUSE_SECONDS = 0.5  # between two attempts to connect after one has failed
CLOCK = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
# What the URL does not say. A standby is refused, for what it shows may be older than what was acknowledged.
_DEFAULTS: dict[str, Any] = {
    "application_name": "entrepot",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "target_session_attrs": "primary",
}
# Statements and not options of the connection, which poolers refuse.
_SETTINGS = (
    f"SET statement_timeout = '{STATEMENT_SECONDS}s'; SET lock_timeout = '{STATEMENT_SECONDS}s';"
    f" SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'; SET standard_conforming_strings = on;"
    " SET bytea_output = 'hex'"
)
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)
_NOT_NOW = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,
    errors.ObjectNotInPrerequisiteState,  # a lock on a standby
    errors.FeatureNotSupported,  # a serializable transaction on a standby
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
    errors.InsufficientPrivilege,
    errors.InternalError_,
)


class Connection(psycopg.Connection[Row]):
    """Gives up when the server does not answer within `patience` seconds."""

    patience: float = _ANSWER_SECONDS
    since = ""  # when the server lost its statistics last, as it does when it is killed, and in nothing else

    def __del__(self, _warn: Any = None, /) -> None:
        """A server that is killed does not close it either: the library does, and there is nothing to warn of."""

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.info.transaction_status is TransactionStatus.ACTIVE:
                self.close()  # the answer may still come, and would be taken for the next one's
            raise


class Connections:
    """One connection for each thread that asks for it, to the database at `url`."""

    def __init__(self, url: str, clock: ServerClock) -> None:
        try:
            self._parameters = _DEFAULTS | conninfo_to_dict(url) | {"client_encoding": "utf8"}
        except psycopg.ProgrammingError:  # which has the password in it
            raise Unavailable("the database's URL cannot be read: it is postgresql://user:password@host/name") from None
        self._clock = clock
        self._own = threading.local()
        self._lock = threading.Lock()
        self._all: set[Connection] = set()
        self._failed: tuple[float, str] = (-_PAUSE_SECONDS, "")

    def get(self) -> Connection:
        """The thread's connection, made when it has none. Raises Unavailable."""
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None or connection.closed:
            self.drop()
            connection = self._own.connection = self._connect()
            with self._lock:
                self._all.add(connection)
        return connection

    def drop(self) -> None:
        """The thread's connection, which is lost, or in no state to be used again."""
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is not None:
            self._own.connection = None
            with self._lock:
                self._all.discard(connection)
            connection.close()

    def end(self) -> None:
        """End the transaction that the thread's connection is in, if it is in one still."""
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is not None:
            undo(connection)

    def close(self) -> None:
        """Every thread's."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    def _connect(self) -> Connection:
        """Soon after a failure it is not tried again: all who wait would try, one after the other."""
        since, problem = self._failed
        if time.monotonic() - since < _PAUSE_SECONDS:
            raise Unavailable(problem)
        try:
            with problems_named():
                return self._open()
        except Unavailable as failure:
            self._failed = time.monotonic(), failure.text
            raise

    def _open(self) -> Connection:
        connection = Connection.connect(
            **self._parameters, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.ClientCursor
        )
        try:
            connection.adapters.register_loader("numeric", IntLoader)  # sums of whole numbers
            if connection.info.server_version < _OLDEST_SERVER:
                raise Unavailable(f"PostgreSQL {connection.info.server_version // 10_000} is too old: 14 is needed")
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise Unavailable(f"the database's encoding is {encoding}: make one with ENCODING 'UTF8'")
            connection.execute(_SETTINGS)
            asked = time.monotonic()
            found = connection.execute(f"SELECT {CLOCK}, CAST(stats_reset AS TEXT) FROM pg_stat_bgwriter").fetchone()
            if found is not None:
                self._clock.note(found[0], asked)
                connection.since = found[1]
        except BaseException:
            connection.close()
            raise
        return connection


def undo(connection: Connection) -> None:
    """Whatever state it is in, the connection can be used again, or is closed."""
    connection.patience = Connection.patience
    if not connection.closed and connection.info.transaction_status is not TransactionStatus.IDLE:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()


@contextlib.contextmanager
def problems_named() -> Iterator[None]:
    """What means "not now" becomes Unavailable, whatever is no bug of ours; a full disk is StorageFull."""
    try:
        yield
    except errors.DiskFull as problem:
        raise StorageFull from problem
    except _DAMAGED as problem:
        raise Unavailable(f"the database is damaged: restore it from a backup ({problem})") from problem
    except _NOT_NOW as problem:
        raise Unavailable(f"the database cannot be used now: {' '.join(str(problem).split())}") from problem
