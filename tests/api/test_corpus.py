"""Requests as bytes, one file each: what has broken servers elsewhere, and whatever a fuzzer finds in ours.

A file's name begins with the status that it gets, 000 when nobody waits for an answer. None of them may store anything.
To add one is to put it into the folder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import places
from tests.api.watching import CANARY, WatchedServer
from tests.api.wire import Connection, keep_laws
from tests.kill import running

CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").iterdir())
ROUNDS = 15
MOST_GROWTH = 4 << 20  # bytes; a tenth of a MiB is usual


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


def status_of(path: Path) -> int:
    return int(path.name.partition(".")[0])


@pytest.mark.input(13, 14, 15, 21)
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_kept_bytes(server: WatchedServer, path: Path) -> None:
    """One answer with its status, nothing behind it, nothing stored; the next client is served."""
    with server.refusing(), server.connect() as connection:
        connection.write(path.read_bytes())
        if status_of(path):
            reply = connection.read()
            assert reply.status == status_of(path)
            if reply["Content-Type"].startswith("application/json"):  # what the parser refuses has no words of ours
                keep_laws("GET", reply)
        connection.end_writing()
        assert connection.read_to_end() == b""
    assert server.call("GET", "/v2/").status == 200


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServer]:
    """One for requests that may go on after their connection ended."""
    server = WatchedServer(tmp_path_factory.mktemp("alone"))
    yield server
    assert server.count_failures() == 0
    server.stop()


PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"%00", b"%2f", b"..", b"0\r\n\r\n", b"HTTP/1.1",
         b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"Host: localhost\r\n",
         b"Expect: 100-continue\r\n"]
    ),
)  # fmt: skip
CUTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2), PIECES), max_size=4)


def changed(content: bytes, cuts: list[tuple[float, float, bytes]]) -> bytes:
    """The content with pieces taken out, or put in the place of others."""
    for where, much, piece in cuts:
        begin = int(where * len(content))
        content = content[:begin] + piece + content[begin + int(much * len(content)) :]
    return content


@settings(max_examples=places.examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CORPUS).map(Path.read_bytes), CUTS, st.sampled_from(CORPUS).map(Path.read_bytes))
def test_changed_bytes(
    alone: WatchedServer, content: bytes, cuts: list[tuple[float, float, bytes]], more: bytes
) -> None:
    """Whatever is changed in them, and whatever follows: no 5xx, no hanging connection, no word of others."""
    with alone.connect() as connection:
        connection.write(changed(content, cuts) + more)
        connection.end_writing()
        received = connection.read_to_end()
    assert not received or received.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 100"))
    assert b"\nHTTP/1.1 5" not in received
    assert CANARY.encode() not in received or b'{"repositories":' in received
    assert alone.count_failures() == 0


def memory_of(program: int) -> int:
    """Bytes that are resident."""
    lines = Path(f"/proc/{program}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) << 10


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Over and over again: what is refused is forgotten."""
    server = running.start(tmp_path / "registry", tmp_path / "server.log")
    try:
        for number in range(2 * ROUNDS):
            if number == ROUNDS:
                before = memory_of(server.program.pid)
            for path in CORPUS:
                with Connection(server.port) as connection:
                    connection.write(path.read_bytes())
                    assert not status_of(path) or connection.read().status == status_of(path)
        assert memory_of(server.program.pid) - before < MOST_GROWTH
    finally:
        server.stop()
