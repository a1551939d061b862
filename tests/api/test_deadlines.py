"""Clients that are slow, or say nothing: each wait of the server's ends, and the others are served meanwhile."""

import re
from collections.abc import Callable

import pytest

from tests.api.conftest import Serve
from tests.api.content import Repository, digest_of, fresh_blob
from tests.api.running import RunningServer
from tests.api.wire import Call, Connection, Reply, head, keep_laws
from tests.waiting import wait_until

SOON = 0.3  # seconds
LONG = 30
PAUSE = 0.02
HOST = b"Host: localhost\r\n"


@pytest.fixture
def impatient(serve: Serve) -> Callable[..., RunningServer]:
    """A server of ours whose deadlines are far off, but for those that a test names."""

    def make(**soon: float) -> RunningServer:
        far = {"header_seconds": LONG, "idle_seconds": LONG, "body_idle_seconds": LONG, "bytes_per_second": 100_000}
        return serve(edge="on", **(far | soon))

    return make


HEADS = {
    "nothing of the request line": b"\r\n",
    "half a method": b"GE",
    "half a path": b"GET /v2/",
    "half a header": b"GET /v2/ HTTP/1.1\r\nHost: loc",
    "no end": b"GET /v2/ HTTP/1.1\r\n" + HOST,
}


@pytest.mark.parametrize("sent", HEADS.values(), ids=HEADS)
def test_heads_that_do_not_end(impatient: Callable[..., RunningServer], sent: bytes) -> None:
    """408 and the end of the connection; of which nothing is said when not a byte of a request was there."""
    server = impatient(header_seconds=SOON)
    with server.connect() as connection:
        connection.write(sent)
        if sent.strip():
            assert_refused(connection, 408)
        assert connection.read_to_end() == b""
    assert server.call("GET", "/v2/").status == 200


def test_heads_that_drip(impatient: Callable[..., RunningServer]) -> None:
    """A header each moment does not put the deadline off, nor does one request after another hide it."""
    server = impatient(header_seconds=SOON)
    with server.connect() as connection:
        for _ in range(3):
            connection.write(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n")
            assert connection.read().status == 200
        connection.write(b"GET /v2/ HTTP/1.1\r\n")
        while not connection.is_answered(PAUSE):
            connection.write(b"X: y\r\n")
        assert_refused(connection, 408)


def test_connections_without_a_request(impatient: Callable[..., RunningServer]) -> None:
    """They are closed without a word: at once after an answer, or before the first request."""
    server = impatient(header_seconds=SOON, idle_seconds=SOON)
    with server.connect() as connection:
        assert connection.read_to_end() == b""
    with server.connect() as connection:
        connection.write(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n")
        assert connection.read().status == 200
        assert connection.read_to_end() == b""


@pytest.mark.input(18, 68)
@pytest.mark.parametrize("is_announced", [True, False])
def test_bodies_that_drip(impatient: Callable[..., RunningServer], is_announced: bool) -> None:
    """A body that keeps coming, but too slowly, is cut off with 408, and what came of it is not kept."""
    repository = Repository(impatient(body_idle_seconds=SOON))
    location = repository.start()
    body = ("Content-Length", "1000000") if is_announced else ("Transfer-Encoding", "chunked")
    with repository.server.connect() as connection:
        connection.write(head(Call("PATCH", location, [body]), repository.server.port))
        while not connection.is_answered(PAUSE):
            connection.write(b"x" if is_announced else b"1\r\nx\r\n")
        assert_refused(connection, 408)
    assert repository.server.call("GET", location)["Range"] == "0-0"


def test_bodies_that_keep_the_rate(impatient: Callable[..., RunningServer]) -> None:
    """As long as it takes, if it goes on."""
    repository = Repository(impatient(body_idle_seconds=SOON))
    piece, pieces = fresh_blob(40_000), 30  # in 0.6 seconds at least: 1,200 kB in the time that 60 kB may take
    call = Call("PATCH", repository.start(), [("Content-Length", str(len(piece) * pieces))])
    with repository.server.connect() as connection:
        connection.write(head(call, repository.server.port))
        for _ in range(pieces):
            assert not connection.is_answered(PAUSE)
            connection.write(piece)
        assert connection.read("PATCH").status == 202


@pytest.mark.input(56)
def test_answers_that_are_not_taken(impatient: Callable[..., RunningServer]) -> None:
    """Who asks for a blob and does not read it is cut off; the log has how much it took."""
    repository = Repository(impatient(body_idle_seconds=SOON))
    content = fresh_blob(32 << 20)
    digest = digest_of(repository.push_blob(content))
    before = blobs_answered(repository.server)
    with repository.server.connect() as connection:
        connection.write(head(Call("GET", f"/v2/{repository.name}/blobs/{digest}"), repository.server.port))
        wait_until(lambda: blobs_answered(repository.server) > before, "the answer has ended")
        assert len(connection.read_to_end()) < len(content)


def test_answers_that_nobody_ever_reads(impatient: Callable[..., RunningServer]) -> None:
    """Who sends request after request and takes no answer is cut off, before the answers fill the memory."""
    server = impatient(body_idle_seconds=SOON)
    request = b"GET /v2/%b HTTP/1.1\r\n" % (b"a" * 4000) + HOST + b"\r\n"
    with server.connect() as connection:

        def is_cut() -> bool:
            try:
                connection.offer(request * 100)
            except ConnectionError:
                return True
            return False

        wait_until(is_cut, "the server reads no more, and then ends it")
    assert server.call("GET", "/v2/").status == 200


def blobs_answered(server: RunningServer) -> float:
    text = server.call("GET", "/metrics").body.decode()
    found = re.search(r'^entrepot_request_seconds_count{method="GET",route="blob"} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0


def assert_refused(connection: Connection, status: int) -> Reply:
    """By an answer like any other, and then the connection ends."""
    reply = connection.read()
    keep_laws("GET", reply)
    assert (reply.status, reply["Connection"]) == (status, "close")
    return reply
