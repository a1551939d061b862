"""PostgreSQL, for a registry that several servers serve.

Writes are SERIALIZABLE: what would not be as if one came after the other fails, and is run again as a whole. Each
thread has a connection of its own, so that none is waited for, and one that is lost costs one attempt.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
import structlog
from psycopg import errors

from registry.errors import Unavailable
from registry.metadata.database import Transaction
from registry.metadata.jobs import Job
from registry.metadata.postgres_connections import Connection, Connections, problems_named, undo
from registry.metadata.postgres_transactions import Begin, NotAlone, PostgresTransaction
from registry.metadata.server_clock import ServerClock
from storage.killpoints import Reach, pass_by

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_MOST_FAILURES = 3  # then the work is done while no other writes
_MOST_LOSSES = 1  # of connections, by one piece of work
_MOST_WAITS = 40  # of a change of the schema, which gives way to others
_WAIT_SECONDS = 1.0  # for which it lets them pass
_INSISTS_EVERY = 5  # tries: then it waits longer than an autovacuum does that is in the way
_IN_THE_WAY = "something reads or writes for long, a backup or a vacuum perhaps"
_QUEUE_SECONDS = 10  # then a job is refused: its client has tried again by now
_RESOLVE_SECONDS = 10
_JITTER_SECONDS = 0.01
_RACES = (errors.SerializationFailure, errors.DeadlockDetected)
_IN_QUEUE = (errors.LockNotAvailable, errors.DeadlockDetected)
# Of a reader that met a change of the schema, which has ended or given way by the next time.
_PASSING = (*_IN_QUEUE, errors.SerializationFailure)
# Perhaps a race that was lost: alone it fails again if it was none.
_PERHAPS_RACES = (errors.UniqueViolation, errors.ForeignKeyViolation)
# A restored cluster goes on in another timeline, a restored database has another number.
_IDENTITY = (
    "SELECT (SELECT system_identifier FROM pg_control_system()), substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),"
    " (SELECT CAST(oid AS BIGINT) FROM pg_database WHERE datname = current_database())"
)


class PostgresDatabase:
    """The database at `url`, with at most so many connections to it. Raises Unavailable.

    `clock` is the server's, as well as it is known here; who fences with it asks the transaction.
    """

    is_shared = True

    def __init__(self, url: str, *, connections: int = 10, reach: Reach = pass_by) -> None:
        self.clock = ServerClock()
        self._reach = reach
        self._connections = Connections(url, self.clock)
        self._random = random.Random()  # noqa: S311 - so that those who failed together do not come back together
        writers = max(1, connections // 2)
        # Apart, so that a long report does not hold up pushes, nor a storm of pushes the pulls.
        self._writers = ThreadPoolExecutor(writers, "database-writer")
        self._readers = ThreadPoolExecutor(max(1, connections - writers), "database-reader")
        self._lock = threading.Lock()
        self._is_open = True
        try:
            self.file_number = self._readers.submit(self._identify).result()
        except BaseException:
            self.close()
            raise

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._submit(self._readers, work, self._run_read)

    async def write(self, work: Callable[[Transaction], T], *, adds: bool = False) -> T:  # noqa: ARG002 - see below
        """Disks are the server's own affair, so `adds` says nothing here."""
        return await self._submit(self._writers, work, self._run_write)

    def version(self) -> object:
        """Others may have committed anything."""

    def checkpoint(self) -> None:
        """The server does it."""

    def close(self) -> None:
        """Do what waits, and refuse the rest."""
        with self._lock:
            self._is_open = False
        self._writers.shutdown()
        self._readers.shutdown()
        self._connections.close()

    async def _submit(
        self,
        executor: ThreadPoolExecutor,
        work: Callable[[Transaction], T],
        run: Callable[[Callable[[Transaction], T]], T],
    ) -> T:
        job = Job(work)
        asked = time.monotonic()
        with self._lock:
            if not self._is_open:
                raise Unavailable("the database is closed")
            executor.submit(self._serve, job, run, asked)
        return await job.wait()

    def _serve(self, job: Job[T], run: Callable[[Callable[[Transaction], T]], T], asked: float) -> None:
        def settle() -> T:
            if time.monotonic() - asked > _QUEUE_SECONDS:
                raise Unavailable("the database has more to do than it can")
            with problems_named():
                return run(job.work)

        job.settle(settle)
        job.answer()
        self._connections.end()  # of a read, which nobody has to wait for

    def _run_read(self, work: Callable[[Transaction], T]) -> T:
        """Once more, on a fresh connection when the first one was lost."""
        connection = self._connections.get()
        try:
            return work(PostgresTransaction(connection, Begin.READ, self.clock))
        except psycopg.Error as problem:
            if not (connection.closed or isinstance(problem, _PASSING)):
                raise
        undo(connection)
        return work(PostgresTransaction(self._connections.get(), Begin.READ, self.clock))

    def _run_write(self, work: Callable[[Transaction], T]) -> T:
        tries = _Tries()
        while True:
            connection = self._connections.get()
            try:
                return self._attempt(connection, tries.begin, work)
            except errors.ReadOnlySqlTransaction:
                connection.close()  # it goes on to be so when the server is not any more
                raise
            except psycopg.Error as problem:
                if isinstance(problem, errors.UndefinedTable) and tries.begin is not Begin.FIRST:
                    if _has_schema(connection):
                        raise
                    tries.begin = Begin.FIRST
                elif not tries.may_try_again(problem, is_lost=connection.closed):
                    raise
            time.sleep(tries.pause + self._random.uniform(0, _JITTER_SECONDS * tries.failures))

    def _attempt(self, connection: Connection, begin: Begin, work: Callable[[Transaction], T]) -> T:
        transaction = PostgresTransaction(connection, begin, self.clock)
        try:
            result = work(transaction)
            self._reach("transaction.applied")
            try:
                transaction.commit()
            except psycopg.Error:
                if not connection.closed or not self._was_committed(transaction.xid, connection.since):
                    raise
        finally:
            undo(connection)
        self._reach("transaction.committed")
        return result

    def _was_committed(self, xid: str | None, since: str) -> bool:
        """What became of a transaction whose connection was lost when it was to be committed. Raises Unavailable."""
        deadline = time.monotonic() + _RESOLVE_SECONDS
        while time.monotonic() < deadline:
            try:
                connection = self._connections.get()
                status = _find_status(connection, xid)
                if status == "aborted":
                    return False
                if connection.since != since:
                    break  # the server was killed, and may have given the number again to another transaction
                if status == "committed":
                    return True
                _end(connection, xid)
            except (psycopg.Error, Unavailable):
                self._connections.drop()
            time.sleep(self._random.uniform(0, 10 * _JITTER_SECONDS))
        raise Unavailable("the database was lost while it committed: perhaps it is done, and to try again does no harm")

    def _identify(self) -> int:
        with problems_named():
            found = self._connections.get().execute(_IDENTITY).fetchone()
        return int.from_bytes(hashlib.sha256(repr(found).encode()).digest()[:8]) >> 1


class _Tries:
    """How often a piece of work has failed, and how it begins when it is tried again."""

    def __init__(self) -> None:
        self.begin = Begin.WRITE
        self.failures = 0
        self.pause = 0.0  # seconds
        self._losses = 0
        self._waits = 0

    def may_try_again(self, problem: psycopg.Error, *, is_lost: bool) -> bool:
        self.pause = 0.0
        if isinstance(problem, NotAlone):
            self.begin = problem.begin
        elif self.begin in (Begin.CHANGE, Begin.INSIST) and isinstance(problem, _IN_QUEUE):
            self._wait(problem)
        elif isinstance(problem, _RACES):
            self.failures += 1
        elif isinstance(problem, _PERHAPS_RACES) and self.begin is Begin.WRITE:
            self.failures += _MOST_FAILURES
        elif is_lost:
            self._losses += 1
        else:
            return False
        if self.begin is Begin.WRITE and self.failures >= _MOST_FAILURES:
            self.begin = Begin.ALONE
        return self.failures <= 2 * _MOST_FAILURES and self._losses <= _MOST_LOSSES

    def _wait(self, problem: psycopg.Error) -> None:
        self._waits += 1
        if self._waits == 1:
            log.warning("the change of the schema waits", reason=_IN_THE_WAY)
        if self._waits > _MOST_WAITS:
            raise Unavailable(
                f"the schema cannot be changed now: {_IN_THE_WAY}. Start again when it has ended"
            ) from problem
        self.pause = _WAIT_SECONDS
        self.begin = Begin.CHANGE if self._waits % _INSISTS_EVERY else Begin.INSIST


def _has_schema(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('migration') IS NOT NULL").fetchone()
    return row is not None and bool(row[0])


def _find_status(connection: Connection, xid: str | None) -> str:
    """Of a transaction: `committed`, `aborted` or something else."""
    try:
        row = connection.execute("SELECT pg_xact_status(CAST(%(xid)s AS xid8))", {"xid": xid}).fetchone()
    except errors.InvalidParameterValue:
        return "aborted"  # no transaction had this number yet
    return str(row[0]) if row is not None else ""


def _end(connection: Connection, xid: str | None) -> None:
    """The server has not heard yet that the transaction's client is gone."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_xid = CAST(CAST(%(xid)s AS xid8) AS xid) AND pid <> pg_backend_pid()",
        {"xid": xid},
    )
