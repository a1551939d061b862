"""SQLite in WAL mode, for one machine.

Writes go to one thread that commits them in groups: a savepoint for each, one COMMIT for all that
wait. Reads are point reads of some microseconds and run where they are asked, in the event loop.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw

from registry.errors import StorageFull, Unavailable
from registry.identity import Clock, milliseconds_now
from registry.metadata.database import Row, Transaction, Value
from registry.metadata.jobs import Job
from registry.metadata.wal_index import find_header
from storage.blobstore import StoreFull
from storage.killpoints import Reach, pass_by
from storage.reserve import require_room

T = TypeVar("T")

_OLDEST_SQLITE = (3, 51, 3)  # before it, two connections that checkpoint at once can corrupt a WAL database
_MOST_JOBS = 256
_BUSY_MILLISECONDS = 10_000  # clients wait for longer; a disk may take seconds for a sync
_TRY_SECONDS = 0.001
# temp_store 2: savepoints spill into memory, not into /var/tmp, which a read-only container lacks.
_PRAGMAS: dict[str, str | int] = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "temp_store": 2}


class SqliteTransaction:
    """A Transaction on a connection."""

    is_shared = False
    refusals: tuple[type[Exception], ...] = (apsw.ConstraintError, apsw.MismatchError)

    def __init__(self, connection: apsw.Connection, clock: Clock) -> None:
        self._connection = connection
        self.now = clock

    def run(self, sql: str, **parameters: Value) -> list[Row]:
        """To its end: SQLite does the rest of an INSERT … RETURNING only when asked for all rows."""
        return list(self._connection.execute(sql, parameters))

    def each(self, sql: str, **parameters: Value) -> Iterator[Row]:
        return self._connection.execute(sql, parameters)

    each_large = each

    def one(self, sql: str, **parameters: Value) -> Row | None:
        rows = self.run(sql, **parameters)
        return rows[0] if rows else None

    def only(self, sql: str, **parameters: Value) -> Row:
        return self.run(sql, **parameters)[0]

    def alone(self, *, gives_way: bool = False, briefly: bool = False) -> None:
        """Every write of SQLite is."""

    def keep_schema(self) -> None:
        """A snapshot of SQLite has its schema."""


class SqliteDatabase:
    """The SQLite database at `path`; made when it is not there. Raises Unavailable.

    Additions leave the `reserve` of its volume free, as `require_room` has it.
    """

    is_shared = False

    def __init__(
        self, path: Path, *, clock: Clock = milliseconds_now, reach: Reach = pass_by, reserve: int | None = None
    ) -> None:
        if tuple(map(int, apsw.sqlite_lib_version().split("."))) < _OLDEST_SQLITE:
            raise Unavailable(f"SQLite {apsw.sqlite_lib_version()} can corrupt the database: upgrade apsw")
        self.clock = clock
        self._reach = reach
        self._folder = path.parent
        self._reserve = reserve
        with _problems_named():
            _keep_private(path)
            self._writer = _connect(path)
            self._writer.set_busy_handler(_Patience())
            self._reader = _connect(path)
            self._reader.pragma("query_only", 1)
            self._reader.execute("SELECT 1 FROM sqlite_schema").fetchall()  # the log has an index from now on
            self.file_number = path.stat().st_ino
        self._find_version = find_header(_index(path)) or self._ask_version
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._is_open = True
        self._thread = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._thread.start()

    async def read(self, work: Callable[[Transaction], T]) -> T:
        with _problems_named(), _inside(self._reader, "BEGIN"):
            return work(SqliteTransaction(self._reader, self.clock))

    async def write(self, work: Callable[[Transaction], T], *, adds: bool = False) -> T:
        if not (self._is_open and self._thread.is_alive()):
            raise Unavailable("the database is closed")
        job = Job(partial(self._add, work) if adds else work)
        self._jobs.put(job)
        with _problems_named():
            return await job.wait()

    def version(self) -> object:
        """What others have committed shows in it, in whatever process they are."""
        if not self._is_open:
            raise Unavailable("the database is closed")
        return self._find_version()

    def _ask_version(self) -> object:
        with _problems_named():
            return self._reader.execute("PRAGMA data_version").get

    def checkpoint(self) -> None:
        """From the write-ahead log into the database, without waiting for anybody.

        Who commits when the log has become long does so else: a push of another process, and waits for it.
        """
        with _problems_named():
            self._reader.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def close(self) -> None:
        """Commit what waits to be written, and refuse the rest."""
        self._is_open = False
        self._jobs.put(None)
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _write_loop(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, is_last = [first], False
            while len(jobs) < _MOST_JOBS and not self._jobs.empty():
                if (job := self._jobs.get()) is None:
                    is_last = True
                    break
                jobs.append(job)
            self._commit_together(jobs)
            for job in jobs:
                job.answer()
            if is_last:
                break

    def _commit_together(self, jobs: list[Job[Any]]) -> None:
        try:
            with _inside(self._writer, "BEGIN IMMEDIATE"):
                for job in jobs:
                    self._run_in_savepoint(job)
                self._reach("transaction.applied")
            self._reach("transaction.committed")
        except Exception as problem:  # noqa: BLE001 - every job is told
            if len(jobs) == 1:
                jobs[0].problem = problem
                return
            for job in jobs:  # a job that is too large for the disk must not take the small ones with it
                job.problem = None
                self._commit_together([job])

    def _add(self, work: Callable[[Transaction], T], transaction: Transaction) -> T:
        try:
            require_room(self._folder, self._reserve)
        except StoreFull as problem:
            raise StorageFull from problem
        except OSError as problem:
            raise Unavailable(f"the disk cannot be asked for its room: {problem}") from problem
        return work(transaction)

    def _run_in_savepoint(self, job: Job[Any]) -> None:
        self._writer.execute("SAVEPOINT job")
        job.run(SqliteTransaction(self._writer, self.clock))
        if job.problem is not None:
            if self._writer.get_autocommit():
                raise job.problem  # a full disk or an I/O error has undone the whole group already
            self._writer.execute("ROLLBACK TO job")
        self._writer.execute("RELEASE job")


def _index(path: Path) -> Path:
    """Of the write-ahead log; it lies beside the file itself, not beside a link to it."""
    path = path.resolve()
    return path.with_name(f"{path.name}-shm")


def _keep_private(path: Path) -> None:
    """The file has hashes of passwords and keys that sign; SQLite gives the files beside it the same mode.

    A file that exists is never opened here: to close it again would drop the locks of this process's connections to it.
    """
    with contextlib.suppress(OSError):  # SQLite tells what is wrong with the path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)


class _Patience:
    """Tries again each millisecond.

    SQLite's own handler waits longer and longer: one who writes a lot in another process would shut out the server.
    """

    def __init__(self) -> None:
        self._since = 0.0

    def __call__(self, tries: int) -> bool:
        now = time.monotonic()
        if not tries:
            self._since = now
        time.sleep(_TRY_SECONDS)
        return now - self._since < _BUSY_MILLISECONDS / 1000


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    for pragma, value in _PRAGMAS.items():
        connection.pragma(pragma, value)
        if (found := connection.pragma(pragma)) != value:
            raise Unavailable(f"SQLite keeps {pragma} at {found!r}: is {path.parent} on a local disk?")
    return connection


@contextlib.contextmanager
def _inside(connection: apsw.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _problems_named() -> Iterator[None]:
    try:
        yield
    except apsw.FullError as problem:
        raise StorageFull from problem
    except apsw.ConnectionClosedError as problem:
        raise Unavailable("the database is closed") from problem
    except (apsw.NotADBError, apsw.CorruptError) as problem:
        raise Unavailable(f"the database is damaged: restore it from a backup ({problem})") from problem
    except (apsw.BusyError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as problem:
        if getattr(problem, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
            raise StorageFull("the disk is full: there is no room even to open the database") from problem
        raise Unavailable(f"the database cannot be used now: {problem}") from problem
