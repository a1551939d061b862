"""Files as bodies of answers, sent by the kernel: each byte in its place, whatever the client does."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from registry.api.extensions import ZERO_COPY
from registry.edge.limits import EdgeLimits
from registry.edge.outlet import SMALL, is_in_memory
from tests.api.wire import Connection
from tests.edge.serving import serving
from tests.waiting import wait_until

SIZE = 40 << 20  # more than the buffers between two sockets have room for
MIB = 1 << 20
REQUEST = b"GET /%d/%d HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Shelf:
    """An application that answers /OFFSET/COUNT with so much of its file, and remembers what came of it."""

    def __init__(self, path: Path) -> None:
        self.content = os.urandom(MIB) * (SIZE // MIB)
        path.write_bytes(self.content)
        self.file = path.open("rb")
        self.sent: list[int] = []
        self.failed: list[OSError] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        offset, count = map(int, scope["path"][1:].split("/"))
        start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"%d" % count)]}
        await send(start)
        try:
            await send({"type": ZERO_COPY, "file": self.file.fileno(), "offset": offset, "count": count})
        except OSError as problem:
            self.failed.append(problem)
        finally:
            self.sent.append(scope["extensions"][ZERO_COPY]["sent"])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path_factory.mktemp("shelf") / "file")
    yield shelf
    shelf.file.close()


PARTS = [
    (0, 1), (0, SMALL), (0, SMALL + 1), (1, SMALL + 1), (0, MIB), (5, MIB + 1), (MIB - 1, 9 * MIB), (SIZE - 1, 1),
    (0, SIZE),
]  # fmt: skip


def forget(shelf: Shelf) -> None:
    """Let the disk have what the memory has of the file."""
    os.fsync(shelf.file.fileno())
    os.posix_fadvise(shelf.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remember(shelf: Shelf) -> None:
    shelf.file.seek(0)
    shelf.file.read()


@pytest.mark.parametrize("prepare", [forget, remember])
def test_parts_of_a_file(shelf: Shelf, prepare: Callable[[Shelf], None]) -> None:
    """One after the other on one connection, from the disk or from memory, and the next answer after each."""
    shelf.sent.clear()
    with serving(shelf) as port, Connection(port) as connection:
        for offset, count in PARTS:
            prepare(shelf)
            connection.write(REQUEST % (offset, count))
            assert connection.read().body == shelf.content[offset : offset + count]
        wait_until(lambda: shelf.sent == [count for _, count in PARTS], "all answers have ended")


def test_pipelined_parts(shelf: Shelf) -> None:
    """Large and small ones in one packet come in their order."""
    remember(shelf)
    with serving(shelf) as port, Connection(port) as connection:
        connection.write(b"".join(REQUEST % part for part in PARTS))
        connection.end_writing()
        left = connection.read_to_end()
    for offset, count in PARTS:
        body = left.partition(b"\r\n\r\n")[2]
        assert body.startswith(shelf.content[offset : offset + count])
        left = body[count:]


def test_a_client_that_takes_its_time(shelf: Shelf) -> None:
    """It gets all there is, in small sips, and others are served meanwhile."""
    with serving(shelf) as port, Connection(port) as slow, Connection(port) as other:
        slow.write(REQUEST % (0, SIZE))
        wait_until(slow.is_answered, "the answer begins")
        received = b""
        for _ in range(20):
            received += slow.receive(1000)
            other.write(REQUEST % (7, 10))
            assert other.read().body == shelf.content[7:17]
        rest = slow.receive(SIZE + len(received.partition(b"\r\n\r\n")[0]) + 4 - len(received))
        assert (received + rest).partition(b"\r\n\r\n")[2] == shelf.content


def test_clients_that_leave(shelf: Shelf) -> None:
    """They cost no descriptor, and it is known how much they took."""
    shelf.sent.clear()
    with serving(shelf) as port:
        before = descriptors()
        for _ in range(20):
            with Connection(port) as connection:
                connection.write(REQUEST % (0, SIZE))
                connection.receive(1000)
                connection.abort()
        wait_until(lambda: len(shelf.sent) == 20, "all answers have ended")
        assert all(0 < sent < SIZE for sent in shelf.sent)
        wait_until(lambda: descriptors() <= before, "all descriptors are closed")


def test_clients_that_leave_while_others_answers_are_written(shelf: Shelf) -> None:
    """What waits in front of a file is dropped with the client, and nothing fails."""
    remember(shelf)
    with serving(shelf) as port, capture_logs() as lines:
        for small in range(40, 160, 3):
            shelf.sent.clear()
            with Connection(port) as connection:
                connection.write(REQUEST % (0, SMALL) * small + REQUEST % (0, SIZE))
                connection.receive(1000)
                connection.abort()
        wait_until(lambda: bool(shelf.sent), "the last answer has ended")
    assert lines == []


def is_over(instant: float) -> bool:
    return time.monotonic() > instant


def test_a_client_that_is_slow_and_keeps_the_rate(shelf: Shelf) -> None:
    """It is not given up, however much of what was sent lies between the two."""
    with serving(shelf, EdgeLimits(patience=1.5, rate=10_000)) as port, Connection(port) as connection:
        connection.write(REQUEST % (0, SIZE))
        received = b""
        for step in range(1, 41):
            begun = time.monotonic()
            received += connection.receive(16 << 10)
            wait_until(partial(is_over, begun + 0.1), f"step {step} of a slow client")
        rest = connection.receive(SIZE + len(received.partition(b"\r\n\r\n")[0]) + 4 - len(received))
        assert (received + rest).partition(b"\r\n\r\n")[2] == shelf.content


def descriptors() -> int:
    """How many this process has, and so the server in it."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_client_that_takes_nothing(shelf: Shelf) -> None:
    """It is given up."""
    with serving(shelf, EdgeLimits(patience=0.3, rate=1000)) as port, Connection(port) as connection:
        shelf.sent.clear()
        connection.write(REQUEST % (0, SIZE))
        wait_until(lambda: bool(shelf.sent), "the answer has ended")
        assert len(connection.read_to_end()) < SIZE


def test_a_file_that_is_too_short(shelf: Shelf) -> None:
    """The application hears of it, and the client's transfer breaks: it has a length that was not reached."""
    shelf.failed.clear()
    with serving(shelf) as port:
        for offset, count in ((SIZE - 10, 20), (SIZE - 10, 10 * MIB), (SIZE + 5, 1)):
            with Connection(port) as connection:
                connection.write(REQUEST % (offset, count))
                received = connection.read_to_end().partition(b"\r\n\r\n")[2]
            assert shelf.content[offset:].startswith(received)
    assert len(shelf.failed) == 3


def answering(*messages: Message) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def test_files_that_do_not_fit(shelf: Shelf) -> None:
    """More than the length, less than it at the end, or without a length: the connection breaks."""
    for length, count in ((5, 6), (5, 4), (None, 5)):
        headers = [] if length is None else [(b"Content-Length", b"%d" % length)]
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        part: Message = {"type": ZERO_COPY, "file": shelf.file.fileno(), "offset": 0, "count": count}
        with serving(answering(start, part)) as port, Connection(port) as connection:
            connection.write(REQUEST % (0, 0))
            assert connection.read_to_end() == b""


def test_what_lies_in_memory(shelf: Shelf) -> None:
    """It is known of each part of the file."""
    remember(shelf)
    with contextlib.suppress(OSError):  # on a file system that cannot say so nothing is known
        os.preadv(shelf.file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        assert is_in_memory(shelf.file.fileno(), 0, SIZE)
    forget(shelf)
    assert not is_in_memory(shelf.file.fileno(), 0, SIZE)
    assert not is_in_memory(shelf.file.fileno(), SIZE, 1)
