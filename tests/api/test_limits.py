"""How large the head of a request may be, to the byte, and what becomes of heads that never end."""

import os
from pathlib import Path

import pytest

from tests.api.conftest import Serve
from tests.api.running import RunningServer
from tests.api.wire import Call, Reply, keep_laws

HOST = b"Host: localhost\r\n"
PATH, TARGET, HEADERS, COUNT = 8192, 16384, 65536, 100  # the defaults
KNOWN = len(b"Host" + b"localhost")  # of each head here


def exchange(server: RunningServer, sent: bytes) -> Reply:
    with server.connect() as connection:
        connection.write(sent)
        reply = connection.read()
    keep_laws("GET", reply)
    return reply


TARGETS = [
    (b"/no/", PATH, 404), (b"/no/", PATH + 1, 414), (b"/no?", TARGET, 404), (b"/no?", TARGET + 1, 414),
]  # fmt: skip


@pytest.mark.input(9)
@pytest.mark.parametrize(("start", "size", "status"), TARGETS)
def test_targets(server: RunningServer, start: bytes, size: int, status: int) -> None:
    """The path alone, and the path and the query together."""
    target = start + b"a" * (size - len(start))
    assert exchange(server, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n").status == status


@pytest.mark.input(23, 25)
@pytest.mark.parametrize(("size", "status"), [(HEADERS, 200), (HEADERS + 1, 431), (1 << 20, 431)])
def test_sizes_of_headers(server: RunningServer, size: int, status: int) -> None:
    """Names and values, of all headers."""
    large = b"X-Large: " + b"a" * (size - KNOWN - len(b"X-Large")) + b"\r\n"
    assert exchange(server, b"GET /v2/ HTTP/1.1\r\n" + HOST + large + b"\r\n").status == status


@pytest.mark.input(25)
@pytest.mark.parametrize(("count", "status"), [(COUNT, 200), (COUNT + 1, 431), (20_000, 431)])
def test_numbers_of_headers(server: RunningServer, count: int, status: int) -> None:
    """One by one, however short they are."""
    assert exchange(server, b"GET /v2/ HTTP/1.1\r\n" + HOST + b"a:\r\n" * (count - 1) + b"\r\n").status == status


def test_chosen_limits(serve: Serve) -> None:
    """Each limit is a setting."""
    server = serve(target_bytes=1024, header_bytes=4096, header_count=20)
    for sent, status in (
        (b"GET /" + b"a" * 1024 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"a: " + b"b" * 4096 + b"\r\n\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 20 + b"\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 19 + b"\r\n", 200),
    ):
        assert exchange(server, sent).status == status


CHUNKED = b"GET /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {

    "a method": (b"G" * 20, b"G" * 65536, 400),
    "a target": (b"GET /", b"a" * 65536, 414),
    "a header's name": (b"GET /v2/ HTTP/1.1\r\n" + HOST, b"a" * 65536, 431),
    "a header's value": (b"GET /v2/ HTTP/1.1\r\n" + HOST + b"a: ", b"a" * 65536, 431),
    "headers": (b"GET /v2/ HTTP/1.1\r\n" + HOST, b"a: b\r\n" * 10_000, 431),
    "a chunk's extension": (CHUNKED + b"3;", b"a" * 65536, 200),
    "a trailer": (CHUNKED + b"0\r\na: ", b"a" * 65536, 200),
}  # fmt: skip


@pytest.mark.parametrize(("start", "piece", "status"), ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends(serve: Serve, start: bytes, piece: bytes, status: int) -> None:
    """It is refused when it is too long, not when it is whole; 60 MB of it take no memory."""
    server = serve(edge="on")
    before = resident()
    with server.connect() as connection:
        connection.write(start)
        for _ in range(1000):
            connection.write(piece)
            if connection.is_answered():
                break
        reply = connection.read()
        keep_laws("GET", reply)
        assert reply.status == status
        assert reply["Connection"] == "close"
    assert resident() - before < 16 << 20


def test_requests_behind_a_refusal(serve: Serve) -> None:
    """What came before it is answered, and what comes after it is not read."""
    server = serve(edge="on")
    good, bad = b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    with server.connect() as connection:
        connection.write(good + good + bad + good)
        received = connection.read_to_end()
    assert [line[:3] for line in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"414"]


def resident() -> int:
    """Bytes of memory that this process has, and so the server in it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.input(18)
def test_an_unmeetable_expectation(serve: Serve) -> None:
    """417, as RFC 9110 section 10.1.1 has it; in any spelling `100-continue` can be met."""
    server = serve(edge="on")
    for value, status in (("100-continue", 200), ("100-Continue", 200), ("200-ok", 417), ("", 417)):
        assert server.send(Call("GET", "/v2/", [("Expect", value)])).status == status
