"""A server that all processes of a test run share: who needs it first starts it, and it stops when the last has ended.

Nobody has to stop it. Whoever uses it holds a lock on a file, which the kernel lets go when the process ends, however
it ends; the process that keeps the server waits for that lock.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
_START_SECONDS = 60
_held: list[int] = []  # the locks of this process, until it ends


class Server(Protocol):
    """Something that was started, and says where it is."""

    def address(self) -> str: ...

    def stop(self) -> None: ...


def find_server(module: str) -> str:
    """The address of the run's server, which `python -m MODULE FOLDER` starts and `keep`s when there is none yet."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    folder = Path(tempfile.gettempdir()) / f"entrepot-{module.rpartition('.')[2]}-{run}"
    _held.append(_hold(folder))
    with _locked(folder / "starting"):
        if not (folder / "address").exists():
            _spawn(module, folder)
        wait_until((folder / "address").exists, f"{module} starts: see {folder}/log", _START_SECONDS)
    return (folder / "address").read_text()


def keep(folder: Path, start: Callable[[], Server]) -> None:
    """Start the server, and stop it when nobody holds the folder any more."""
    server = start()
    try:
        (folder / "starting.address").write_text(server.address())
        (folder / "starting.address").rename(folder / "address")
        with (folder / "users").open() as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "address").unlink()
    finally:
        server.stop()
    shutil.rmtree(folder)


def _hold(folder: Path) -> int:
    """A descriptor that is never closed, with a shared lock on the folder's users."""
    while True:
        folder.mkdir(mode=0o755, exist_ok=True)
        users = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):  # its keeper has removed it meanwhile
            if os.fstat(users).st_ino == (folder / "users").stat().st_ino:
                return users
        os.close(users)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _spawn(module: str, folder: Path) -> None:
    """In a session of its own: what ends the tests from the keyboard does not end it, their end does."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", module, str(folder)],
        os.environ | {"PYTHONPATH": str(ROOT)},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, nothing, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )
    os.close(log)
    os.close(nothing)
