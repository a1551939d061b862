"""What an application may answer, and what the edge lets nobody answer: an answer is whole, or visibly is not."""

import asyncio
import gc
import threading
from collections.abc import Callable, Sequence

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.edge.exchange import Exchange
from tests.api.wire import SECONDS, Connection
from tests.edge.serving import serving

REQUEST = b"%b / HTTP/1.1\r\nHost: localhost\r\n\r\n"
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"3")]}
CHUNKED: Message = {"type": "http.response.start", "status": 200}


def body(piece: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


def saying(*messages: Message) -> ASGIApp:
    """An application that answers so, whatever it is asked."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def ask(app: ASGIApp, request: bytes = REQUEST % b"GET") -> bytes:
    """All that comes until the server closes the connection; the client says that it sends no more."""
    with serving(app) as port, Connection(port) as connection:
        connection.write(request)
        connection.end_writing()
        return connection.read_to_end()


def parts(received: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The status line, the header lines without the date, and the body."""
    head, _, content = received.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    return line, [header for header in headers if not header.startswith(b"date: ")], content


WHOLE: dict[str, tuple[Sequence[Message], list[bytes], bytes]] = {
    "in one piece": ([START, body(b"abc")], [b"Content-Length: 3"], b"abc"),
    "in pieces": ([START, body(b"a", more=True), body(b"", more=True), body(b"bc")], [b"Content-Length: 3"], b"abc"),
    "an end of its own": ([START, body(b"abc", more=True), body(b"")], [b"Content-Length: 3"], b"abc"),
    "without a length": (
        [CHUNKED, body(b"a", more=True), body(b"", more=True), body(b"bc")],
        [b"transfer-encoding: chunked"],
        b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    ),
    "empty": ([CHUNKED, body(b"")], [b"transfer-encoding: chunked"], b"0\r\n\r\n"),
    "204": ([{**CHUNKED, "status": 204}, body(b"")], [], b""),
    "304": ([{**CHUNKED, "status": 304, "headers": [(b"ETag", b"1")]}, body(b"")], [b"ETag: 1"], b""),
}


@pytest.mark.parametrize(("messages", "headers", "content"), WHOLE.values(), ids=WHOLE)
def test_whole_answers(messages: Sequence[Message], headers: list[bytes], content: bytes) -> None:
    """Their headers are the application's, with what says where the body ends."""
    _, found, received = parts(ask(saying(*messages)))
    assert (found, received) == (headers, content)


def test_the_answer_to_head() -> None:
    """It has the headers of GET, and no body, whatever the application sends."""
    assert parts(ask(saying(START, body(b"abc")), REQUEST % b"HEAD"))[1:] == ([b"Content-Length: 3"], b"")


def test_an_answer_that_ends_the_connection() -> None:
    """The application may say so; another request is not read then."""
    closing: Message = {**START, "headers": [*START["headers"], (b"Connection", b"close")]}
    received = ask(saying(closing, body(b"abc")), REQUEST % b"GET" * 2)
    assert received.count(b"HTTP/1.1 200") == 1
    assert parts(received)[1] == [b"Content-Length: 3", b"connection: close"]


BROKEN: dict[str, tuple[Sequence[Message], bytes]] = {
    "nothing": ([], b""),
    "a start and no body": ([START], b""),
    "less than was said": ([START, body(b"ab")], b""),
    "less than was said, in pieces": ([START, body(b"a", more=True), body(b"b")], b"a"),
    "more than was said": ([START, body(b"abcd")], b""),
    "no end": ([CHUNKED, body(b"abc", more=True)], b"3\r\nabc\r\n"),
    "a body first": ([body(b"abc")], b""),
    "two starts": ([START, START], b""),
    "a line break in a header": ([{**START, "headers": [(b"X", b"a\r\nSet-Cookie: b")]}, body(b"")], b""),
    "NUL in a header": ([{**START, "headers": [(b"X", b"a\0")]}, body(b"")], b""),
    "a colon in a name": ([{**START, "headers": [(b"X: Y", b"")]}, body(b"")], b""),
    "an unknown status": ([{**START, "status": 999}, body(b"")], b""),
}


@pytest.mark.parametrize(("messages", "content"), BROKEN.values(), ids=BROKEN)
def test_broken_answers(messages: Sequence[Message], content: bytes) -> None:
    """The connection breaks, so that no client takes what it has for the whole; the server goes on."""
    answer: ASGIApp = saying(*messages)
    with serving(answer) as port:
        for _ in range(2):
            with Connection(port) as connection:
                connection.write(REQUEST % b"GET")
                assert parts(connection.read_to_end())[2] == content


async def _raise(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("a bug")


def test_an_application_that_fails() -> None:
    """It has answered nothing, so nothing is sent."""
    assert ask(_raise) == b""


def test_a_client_that_leaves() -> None:
    """Who waits for the end of the client hears of it, once the body has come; what is sent then goes nowhere."""
    heard: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        while not heard or heard[-1] != "http.disconnect":
            heard.append((await receive())["type"])
        await send(START)
        await send(body(b"abc"))

    with serving(app) as port, Connection(port) as connection:
        connection.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
        connection.abort()
    assert heard == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 300_000, 3_000_000])
@pytest.mark.parametrize("framed", [True, False], ids=["length", "chunked"])
def test_bodies_of_requests(size: int, framed: bool) -> None:
    """They arrive as they were sent, also when the application is slower than the client."""
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)

    async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
        received, more = b"", True
        while more:
            message = await receive()
            received, more = received + message["body"], message["more_body"]
            await asyncio.sleep(0)
        await send({**CHUNKED, "headers": [(b"X-Same", b"%d" % (received == content))]})
        await send(body(b""))

    chunk = b"%x\r\n%b\r\n" % (size, content) if size else b""
    length = b"Content-Length: %d\r\n\r\n%b" % (size, content)
    framing = length if framed else b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
    assert b"X-Same: 1" in ask(echo, b"POST / HTTP/1.1\r\nHost: localhost\r\n" + framing)


def test_many_upgrades() -> None:
    """To none of them anybody is bound; however many come in one packet, each is a request like any other."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    assert ask(saying(START, body(b"abc")), request * 2_000).count(b"HTTP/1.1 200") == 2_000


def test_what_follows_connect() -> None:
    """It is for whom the request names, so it is no request to us."""
    inner = REQUEST % b"GET"
    outer = b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(inner)
    assert ask(saying(START, body(b"abc")), outer + inner).count(b"HTTP/1.1 ") == 1


def test_a_packet_full_of_requests() -> None:
    """Only a few of them are known at a time, however slow the first one's answer is; all are answered."""
    begun, may_end = threading.Event(), threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.to_thread(may_end.wait)
        for message in (START, body(b"abc")):
            await send(message)

    with serving(app) as port, Connection(port) as connection:
        connection.write(REQUEST % b"GET" * 2_000)
        connection.end_writing()
        is_begun = begun.wait(SECONDS)
        known = sum(isinstance(each, Exchange) for each in gc.get_objects())
        may_end.set()
        assert (is_begun, known < 300) == (True, True)
        assert connection.read_to_end().count(b"HTTP/1.1 200") == 2_000


def test_a_body_that_breaks_after_its_answer() -> None:
    """Nobody asks for the rest of it any more, so the connection ends."""
    with serving(saying(START, body(b"abc"))) as port, Connection(port) as connection:
        connection.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.read().body == b"abc"
        connection.write(b"no chunk\r\n")
        assert connection.read_to_end() == b""


def pipelined(answers: Callable[[str], bytes]) -> ASGIApp:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        for _ in range(len(scope["path"]) % 5):  # some are slower than others
            await asyncio.sleep(0)
        content = answers(scope["path"])
        await send({**START, "headers": [(b"Content-Length", b"%d" % len(content))]})
        await send(body(content))

    return app


def test_pipelined_requests() -> None:
    """Their answers come in their order, and one at a time is worked at."""
    paths = [f"/{'a' * number}" for number in range(50)]
    requests = b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths)
    received = ask(pipelined(lambda path: b"<%b>" % path.encode()), requests)
    answers = [line for line in received.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"<")]
    assert [answer.partition(b">")[0][1:].decode() for answer in answers] == paths
