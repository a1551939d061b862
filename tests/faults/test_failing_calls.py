"""A system call of a push fails once: that push is refused, nothing else is lost, and the next one works."""

from pathlib import Path

import pytest

from tests.faults import traced
from tests.kill import running
from tests.kill.client import Client
from tests.kill.content import digest_of, make_content
from tests.kill.history import History
from tests.kill.pusher import OCTETS, Pusher
from tests.kill.running import RunningServer
from tests.kill.verification import find_faults

FULL, BROKEN = {507}, {500, 503}

# The first push of a server syncs the new folder's name, then the file, then the folder. None of these is ever tried
# again: the kernel forgets that a sync failed, and the next one would say that all is well.
FAILURES = [
    ("fsync", "EIO", 1, BROKEN),
    ("fsync", "EIO", 2, BROKEN),
    ("fsync", "EIO", 3, BROKEN),
    ("fsync", "ENOSPC", 2, FULL),
    ("mkdir", "ENOSPC", 1, FULL),
    ("rename", "ENOSPC", 1, FULL),
    ("ftruncate", "ENOSPC", 1, FULL),
    ("pwrite", "EDQUOT", 1, FULL),
]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def history(storage: Path, tmp_path: Path) -> History:
    """A registry that holds a blob from before."""
    record = History()
    server = running.start(storage, tmp_path / "server.log")
    with Client(server.port) as client:
        Pusher(client, record, "load/before").push_with_post(b"before")
    server.stop()
    return record


def push_twice(server: RunningServer, history: History) -> int:
    """The status of the first push; the second is well, and so is everything else."""
    content = make_content("content", 5_000)
    path = f"/v2/load/after/blobs/uploads/?digest={digest_of(content)}"
    with Client(server.port) as client:
        status = client.call("POST", path, content, OCTETS).status
    assert find_faults(server.port, history) == []
    with Client(server.port) as client:
        Pusher(client, history, "load/after").push_with_post(content)
    assert find_faults(server.port, history) == []
    return status


@pytest.mark.parametrize(("call", "error", "when", "statuses"), FAILURES)
def test_a_failed_call_refuses_one_push(
    call: str, error: str, when: int, statuses: set[int], storage: Path, history: History
) -> None:
    """The push whose call fails is answered with an error, and its repetition with success."""
    program = [str(running.PYTHON), "-m", "tests.faults.failing_server", call, error, str(when)]
    server = RunningServer(program, storage, storage.with_suffix(".log"))
    assert server.wait_ready(), server.log_end()
    assert push_twice(server, history) in statuses
    server.stop()
    assert running.check(storage) == ""


@pytest.mark.parametrize("when", [1, 3])
def test_a_failed_sync_of_the_database_refuses_one_push(when: int, storage: Path, history: History) -> None:
    """A transaction that SQLite could not sync is answered with an error, and its repetition with success."""
    quiet = {"ENTREPOT_COLLECTOR": "off", "ENTREPOT_SCRUB_MIB_PER_SECOND": "0"}  # only pushes write
    server = running.start(storage, storage.with_suffix(".log"), **quiet)
    with traced.attached(server, "fdatasync", "-e", f"inject=fdatasync:error=EIO:when={when}"):
        assert push_twice(server, history) in BROKEN
    server.stop()
    assert running.check(storage) == ""
